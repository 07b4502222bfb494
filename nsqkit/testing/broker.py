"""Broker: what the harness needs of an NSQ, be it the ledger or a real nsqd."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nsqkit.nsq import ConsumerOptions
from nsqkit.runtime.settle import Publishes
from nsqkit.testing.clock import Clock
from nsqkit.worker.subscription import Consumes


@dataclass(frozen=True, slots=True)
class Load:
    """What a broker may ask about the handlers.

    Args:
        held: How many messages they hold, without those that wait until a pause ends.
        is_resting: Whether an intake rests, and will go on by itself.
        longest_wait_s: In how many seconds the last requeued message falls due; 0 for none.
    """

    held: Callable[[], int]
    is_resting: Callable[[], bool]
    longest_wait_s: Callable[[], float]


class Broker(Publishes, Protocol):
    """One nsqd and its clock.

    Attributes:
        address: What publishes are addressed to.
        max_msg_bytes: Its max-msg-size.
        clock: What the test sees of time.
    """

    @property
    def address(self) -> str: ...  # noqa: D102
    @property
    def max_msg_bytes(self) -> int: ...  # noqa: D102
    @property
    def clock(self) -> Clock: ...  # noqa: D102

    async def start(self, channels: Sequence[tuple[str, str]]) -> None:
        """Be ready, with these (topic, channel) made."""

    def make_consumer(self, options: ConsumerOptions, **callbacks: Any) -> Consumes:
        """Return a handler's consumer; see ``Subscription``."""

    def now_s(self) -> float:
        """Return the time by which messages say when they arrived."""

    def now_ns(self) -> int:
        """Return the wall clock, nanoseconds since 1970."""

    async def settle(self, load: Load, *, through_delays: bool) -> None:
        """Return when nothing runs and nothing is due.

        Args:
            load: Of the handlers.
            through_delays: True plays out what is deferred, leased or resting too.

        Raises:
            NeedsVirtualTimeError: If that takes more real time than is waited for.
        """

    def drop_connections(self) -> None:
        """Break every consumer's connection, as a network does.

        Raises:
            NeedsVirtualTimeError: If what follows takes more real time than is waited for.
        """

    async def stop(self) -> None:
        """End it; comes after the drain."""
