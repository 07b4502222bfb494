"""Parts: what all subscriptions of one worker share, and what it runs beside them. It makes none of them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from nsqkit.admin import HandlerState
from nsqkit.background import Background
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.runtime.clock import Clock
from nsqkit.runtime.dead_letter_publisher import not_known
from nsqkit.runtime.ports import Publishes, Source
from nsqkit.runtime.quarantine import Quarantine
from nsqkit.runtime.settle import Observer, OnFailure
from nsqkit.settings.settings import Settings
from nsqkit.telemetry.metrics import Metrics


class Consumes(Source, Protocol):
    """The consumer of a subscription; ``nsqkit.nsq.Consumer`` implements it for nsqd."""

    @property
    def ready(self) -> bool: ...  # noqa: D102
    @property
    def problems(self) -> tuple[str, ...]: ...  # noqa: D102
    def start(self) -> None: ...  # noqa: D102
    async def wait_ready(self) -> None: ...  # noqa: D102
    def subscribed_to(self, address: str) -> bool: ...  # noqa: D102
    def poll_now(self) -> None: ...  # noqa: D102
    def pause(self) -> None: ...  # noqa: D102
    def resume(self) -> None: ...  # noqa: D102
    def trial(self) -> None: ...  # noqa: D102
    def set_max_in_flight(self, count: int) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """Parts that all subscriptions of one worker share.

    Args:
        settings: Settings of the worker.
        metrics: Metrics of all handlers.
        publishes: Publishes dead letters and follow-up events, and awaits nsqd's OK.
        make_consumer: Creates a consumer from ``ConsumerOptions``, with ``on_messages``,
            ``on_settle_failure``, ``on_lost`` and ``log`` as keywords.
        max_msg_bytes: The least max-msg-size of the nsqd that were known at the start, bytes.
        limit_of: Returns max-msg-size of the nsqd at an address, bytes; None if it is not known.
        log: structlog logger without fields.
        quarantine: Runs the suspects of all handlers of the worker.
        observer: Called with every outcome and its delivery; None for none.
        on_failure: Called with every delivery that an exception ended; None for none.
        clock: Time and random numbers.
    """

    settings: Settings
    metrics: Metrics
    publishes: Publishes
    make_consumer: Callable[..., Consumes]
    max_msg_bytes: int
    log: Any
    quarantine: Quarantine = field(default_factory=Quarantine)
    limit_of: Callable[[str], Awaitable[int | None]] = not_known
    observer: Observer | None = None
    on_failure: OnFailure | None = None
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionParts:
    """Parts of a worker that its companions use.

    Args:
        settings: Settings of the worker.
        metrics: Metrics of all handlers.
        publishers: Publishes to any nsqd by its address.
        background: Starts tasks that must not die.
        log: structlog logger without fields.
    """

    settings: Settings
    metrics: Metrics
    publishers: PublisherPool
    background: Background
    log: Any


class Companion(Protocol):
    """Something that a worker runs beside its handlers, and shows like one, such as a route to NSQ."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def state(self) -> HandlerState: ...  # noqa: D102
    @property
    def problems(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def held(self) -> int: ...  # noqa: D102
    @property
    def is_blocked(self) -> bool: ...  # noqa: D102

    async def start(self) -> None:
        """Start, and return soon; raise an error that only a person can correct."""

    async def wait_ready(self) -> None:
        """Wait until it has been ready once."""

    async def stop(self, grace_s: float) -> None:
        """Finish what is under way within *grace_s* seconds, and end; may be called before start."""

    def pause(self, for_s: float = ...) -> None:
        """Stop the intake for *for_s* seconds; infinite until :meth:`resume`."""

    def resume(self) -> None:
        """End the pause."""


MakeCompanion = Callable[[CompanionParts], Companion]
