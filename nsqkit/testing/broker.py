"""What the harness needs of its broker, whether that is the ledger or a real nsqd."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nsqkit.runtime.ports import Publishes
from nsqkit.testing.clock import Clock
from nsqkit.worker.parts import Consumes


@dataclass(frozen=True, slots=True)
class HandlerActivity:
    """What a broker may ask about the handlers.

    Args:
        active: How many messages they are working on, without those that wait for a pause to end.
        is_paused: Whether an intake is paused, and will resume by itself.
        longest_wait_s: Seconds until the last requeued message is due; 0 if there is none.
    """

    active: Callable[[], int]
    is_paused: Callable[[], bool]
    longest_wait_s: Callable[[], float]


class Broker(Publishes, Protocol):
    """One nsqd and its clock.

    Attributes:
        address: The address to publish to.
        max_msg_bytes: The longest body that it accepts.
        clock: The clock that the test sees.
    """

    @property
    def address(self) -> str: ...  # noqa: D102
    @property
    def max_msg_bytes(self) -> int: ...  # noqa: D102
    @property
    def clock(self) -> Clock: ...  # noqa: D102

    async def start(self, channels: Sequence[tuple[str, str]]) -> None:
        """Start, and create these channels.

        Args:
            channels: Pairs of topic and channel.
        """

    def make_consumer(self, *args: Any, **wanted: Any) -> Consumes:
        """Return a handler's consumer; the arguments are those that ``Subscription`` passes."""

    def now_s(self) -> float:
        """Return the time on the clock that stamps the arrival of messages, in seconds."""

    def now_ns(self) -> int:
        """Return the wall clock, nanoseconds since 1970."""

    async def settle(self, activity: HandlerActivity, *, through_delays: bool) -> None:
        """Return when no handler runs and no message is due.

        Args:
            activity: What the handlers are doing.
            through_delays: Whether to wait for deferrals, leases and pauses to end too.

        Raises:
            NeedsVirtualTimeError: If that takes more real time than the harness waits.
        """

    def drop_connections(self) -> None:
        """Break every consumer's connection, as a network failure does.

        Raises:
            NeedsVirtualTimeError: If the consequences take more real time than the harness waits.
        """

    async def stop(self) -> None:
        """Stop the broker; called after the handlers are drained."""
