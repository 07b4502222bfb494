"""Spec: the checked declaration of a handler class, with defaults; it contains no state."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nsqkit.events.codec.protocol import Codec
from nsqkit.events.types import REGISTRY, EventType, Select
from nsqkit.handler.awaited import is_async
from nsqkit.handler.extension import Layer
from nsqkit.handler.once import EventKey, Once
from nsqkit.handler.options import TIMEOUT_S
from nsqkit.handler.resources import Resource
from nsqkit.policy.kill_switch import KillSwitch
from nsqkit.policy.names import is_ephemeral, subscribed_topics
from nsqkit.policy.rate import RateLimit
from nsqkit.policy.retry import RetryPolicy
from nsqkit.policy.verdict import OnExpired, OnUnknown

if TYPE_CHECKING:
    from nsqkit.handler.handler import AnyHandler

RATE_WAIT_S = 30.0
"""With a rate limit, only as many messages are in flight as start in these seconds: half a default lease."""


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """The checked declaration of a handler class; times in seconds.

    The fields with a default are class keywords, described in ``options.py``. ``max_messages`` is None for a
    handler of single messages.

    Args:
        handler: The handler class.
        topic: Source topic of the events.
        channel: Channel to consume.
        event_types: Event types that the handler takes; one or more.
        is_async: Whether ``handle`` is a coroutine function.
        location: ``file:line`` of the class statement.
    """

    handler: "type[AnyHandler[Any]]"
    topic: str
    channel: str
    event_types: tuple[EventType, ...]
    is_async: bool
    location: str
    name: str = ""
    max_in_flight: int = 100
    timeout_s: float = TIMEOUT_S
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    threads: int | None = None
    run_on_loop: bool = False
    max_age_s: float | None = None
    on_expired: OnExpired = "dead_letter"
    on_unknown: OnUnknown | None = None
    select: Select | None = None
    codec: Codec | None = None
    dead_letters: bool | None = None
    errors: tuple[type[Exception], ...] = ()
    kill_switch: KillSwitch | None = None
    rate_limit: RateLimit | None = None
    middleware: tuple[Layer, ...] = ()
    uses: tuple[Resource[Any], ...] = ()
    once: Once | None = None
    event_key: EventKey | None = None
    max_messages: int | None = None
    max_wait_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.handler.__name__)

    @property
    def holds_s(self) -> float:
        """Maximum seconds that a message waits for its batch and is handled."""
        return self.max_wait_s + self.timeout_s

    @property
    def most_calls(self) -> int:
        """Maximum number of calls at the same time that ``max_in_flight`` allows; 1 or more."""
        return self.max_in_flight // (self.max_messages or 1)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics to consume: the source topic and, if dead letters are kept, its ``.retry`` topic."""
        return subscribed_topics(self.topic, self.channel, with_retry=self.keeps_dead_letters)

    @property
    def keeps_dead_letters(self) -> bool:
        """Whether dead letters are published; by default not if the topic or the channel is ephemeral."""
        if self.dead_letters is None:
            return not (is_ephemeral(self.topic) or is_ephemeral(self.channel))
        return self.dead_letters

    @property
    def most_in_flight(self) -> int:
        """Maximum number of messages in flight in one worker; 1 to ``max_in_flight``.

        A rate limit bounds it: messages that would wait here for long may start sooner in another worker.
        """
        if self.max_messages is not None or self.rate_limit is None:
            return self.max_in_flight
        return min(
            self.max_in_flight, max(1, self.rate_limit.burst + int(self.rate_limit.per_s * RATE_WAIT_S))
        )

    def slots(self, threads: int) -> int:
        """Return how many messages run at the same time in one worker; 1 to ``most_in_flight``.

        Each thread runs one. A few more are in flight to keep short calls from waiting for messages
        (``policy.thread_queue``).

        Args:
            threads: The setting ``threads``, for a plain handler that declares none; 1 or more.
        """
        if self.is_async or self.run_on_loop or self.max_messages is not None:
            return self.most_in_flight
        return min(self.most_in_flight, self.threads or threads)

    @property
    def declared_errors(self) -> frozenset[str]:
        """Names of the exception types with a separate metric label."""
        return frozenset(error.__name__ for error in (*self.errors, *self.retry.on))


def spec_of(
    handler: "type[AnyHandler[Any]]", models: tuple[Any, ...], options: Mapping[str, Any], location: str
) -> HandlerSpec:
    """Return the spec of a class whose declaration has no mistakes.

    Args:
        handler: The handler class.
        models: The event classes that it takes; one or more.
        options: The class keywords, inherited ones included.
        location: ``file:line`` of the class statement.
    """
    event_types = tuple(REGISTRY.of(model) for model in models)
    defaults: dict[str, Any] = {"topic": event_types[0].topic}
    if "max_messages" in options:
        defaults["max_in_flight"] = options["max_messages"]
    is_awaited = is_async(handler.handle)
    once: Once | None = options.get("once")
    if once is not None:
        name = options.get("name") or handler.__name__
        inbox_of = once.batch_inbox if "max_messages" in options else once.inbox
        inbox = inbox_of(name, is_async=is_awaited, event_key=options.get("event_key"))
        defaults["middleware"] = (*options.get("middleware", ()), inbox)
        options = {name: value for name, value in options.items() if name != "middleware"}
    return HandlerSpec(
        handler=handler,
        event_types=event_types,
        is_async=is_awaited,
        location=location,
        **{**defaults, **options},
    )
