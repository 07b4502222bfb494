"""Batches: the class a team derives from to handle several messages in one call, and what that call gets."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, Unpack

from nsqkit.handler.context import Context
from nsqkit.handler.handler import AnyHandler, E
from nsqkit.handler.options import BatchOptions
from nsqkit.policy.outcome import Outcome

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Delivery(Generic[T_co]):
    """One message of a batch.

    Args:
        key: Identifies it in its batch, and nowhere else.
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

    A batch starts when it is full, or ``max_wait_s`` after its first message. While the allowed number of
    batches runs, new messages gather for the next one. ``async def handle`` runs on the event loop, plain
    ``def`` in a thread. Middleware is around every message, not around the batch.

    A call that raises, or runs past ``timeout_s``, settles no message. Its messages are handled again one by
    one, each as a batch of one with its own timeout, and each gets the outcome of that call. A message whose
    turn does not come within nsqd's ``--max-msg-timeout``, 15 min by default, fails with the error of the
    batch.

    Args:
        abstract: True for a class that only shares options with those derived from it.
        options: The class keywords, such as ``channel``, ``max_messages`` and ``max_wait_s``:
            ``help(nsqkit.handler.options.BatchOptions)`` describes its own, ``HandlerOptions`` the others.

    Raises:
        HandlerError: When the class is made and something about it is wrong; all its mistakes.
    """

    _options: ClassVar[Mapping[str, Any]] = {"max_messages": 100, "max_wait_s": 1.0}

    def __init_subclass__(cls, *, abstract: bool = False, **options: Unpack[BatchOptions]) -> None:
        super().__init_subclass__()
        known = BatchOptions.__optional_keys__
        cls._declare(BatchHandler, options, known=known, takes="batch", abstract=abstract)

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
