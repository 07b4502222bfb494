"""Batches: the class a team derives from to handle several messages in one call, and what that call gets."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Never, TypeVar

from nsqkit.handler.context import Context
from nsqkit.handler.handler import AnyHandler, E
from nsqkit.policy.kill_switch import KillSwitch
from nsqkit.policy.outcome import Outcome
from nsqkit.policy.rate import RateLimit
from nsqkit.policy.retry import RetryPolicy
from nsqkit.policy.verdict import OnExpired, OnUnknown

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Delivery(Generic[T_co]):
    """One message of a batch.

    Args:
        key: What tells it from the others of its batch; it says nothing else.
        event: The decoded event.
        ctx: What else is known of the message.
    """

    key: str
    event: T_co
    ctx: Context


class BatchHandler(AnyHandler[E]):
    """Handles the events of one topic on one channel, several of them in one call.

    Derive from it with the event type, or a union of them, and give the options as class keywords::

        class Totals(BatchHandler[OrderCreated], channel="totals", max_messages=500, max_wait_s=2.0):
            async def handle(self, batch: Sequence[Delivery[OrderCreated]]) -> None: ...

    A batch begins when it is full, or a while after its first message. Messages that come while as many
    batches run as may gather for the next one. ``async def handle`` runs on the event loop, plain ``def``
    in a thread. Middleware is around every message, not around the batch.

    A call that raises, or runs past ``timeout_s``, ends no message. Its messages are handled again one by
    one, each as a batch of one with a timeout of its own, and what becomes of each of those calls becomes
    of its message. A message whose turn does not come while nsqd lets it be held, 15 min by default, fails
    with the error of the batch.

    Args:
        topic: As for ``Handler``, like all that are not told here.
        max_messages: Most messages of one call; 1 to 2500, 100 by default.
        max_wait_s: For how long the first message waits for others; above 0 seconds, 1 by default. With
            ``timeout_s`` it is at most 880.
        max_in_flight: Messages handled or gathered at the same time; by default ``max_messages``, and not
            less. As many batches run at the same time as would be full with it.
        timeout_s: Seconds after which a call counts as failed, whole batch or rerun.
        threads: Most threads for a plain ``def handle``, each of which runs a batch.
        rate_limit: How many messages, not batches, one worker starts per second.

    Raises:
        HandlerError: When the class is made and something about it is wrong; all its mistakes.
    """

    _options: ClassVar[Mapping[str, Any]] = {"max_messages": 100, "max_wait_s": 1.0}

    def __init_subclass__(
        cls,
        *,
        topic: str | None = None,
        channel: str | None = None,
        max_messages: int | None = None,
        max_wait_s: float | None = None,
        max_in_flight: int | None = None,
        timeout_s: float | None = None,
        retry: RetryPolicy | None = None,
        threads: int | None = None,
        run_on_loop: bool | None = None,
        max_age_s: float | None = None,
        on_expired: OnExpired | None = None,
        on_unknown: OnUnknown | None = None,
        dead_letters: bool | None = None,
        errors: tuple[type[Exception], ...] | None = None,
        kill_switch: KillSwitch | None = None,
        rate_limit: RateLimit | None = None,
        abstract: bool = False,
        **unknown: Never,
    ) -> None:
        super().__init_subclass__()
        given = {
            "topic": topic,
            "channel": channel,
            "max_messages": max_messages,
            "max_wait_s": max_wait_s,
            "max_in_flight": max_in_flight,
            "timeout_s": timeout_s,
            "retry": retry,
            "threads": threads,
            "run_on_loop": run_on_loop,
            "max_age_s": max_age_s,
            "on_expired": on_expired,
            "on_unknown": on_unknown,
            "dead_letters": dead_letters,
            "errors": errors,
            "kill_switch": kill_switch,
            "rate_limit": rate_limit,
        }
        cls._declare(BatchHandler, given, unknown, takes="batch", abstract=abstract)

    def handle(
        self, batch: Sequence[Delivery[E]], /
    ) -> Awaitable[Mapping[str, Outcome] | None] | Mapping[str, Outcome] | None:
        """Handle a batch; ``async def`` runs on the loop, plain ``def`` in a thread.

        Args:
            batch: 1 to ``max_messages`` messages, in the order of their arrival.

        Returns:
            Outcomes by key. A message that is not named is done, and with None all of them are. Raise for
            a failure of the call.
        """
        raise NotImplementedError
