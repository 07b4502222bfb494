"""Batches: the base class of handlers that receive several messages in one call, and their argument."""

from abc import abstractmethod
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
        key: Identifies the message within its batch; it has no other meaning.
        event: The decoded event.
        ctx: Context of the message, such as its attempts and its logger.
    """

    key: str
    event: T_co
    ctx: Context


class BatchHandler(AnyHandler[E]):
    """Handles the events of one topic on one channel, several of them in one call.

    Derive from it with the event type, or a union of them, and give the options as class keywords::

        class Totals(BatchHandler[OrderCreated], channel="totals", max_messages=500, max_wait_s=2.0):
            async def handle(self, batch: Sequence[Delivery[OrderCreated]]) -> None: ...

    A batch starts when it has ``max_messages``, or ``max_wait_s`` after its first message. While the maximum
    number of batches runs, arriving messages collect for the next one. ``async def handle`` runs on the
    event loop, plain ``def`` in a thread. Middleware is called around every message, not around the batch.

    If a call raises or runs past ``timeout_s``, its messages are handled again one by one, each as a batch
    of one with its own timeout, and each gets the outcome of that call. The handler must be idempotent. A
    message whose lease leaves no time for that (nsqd's max-msg-timeout is 15 min by default) fails with the
    error of the batch.

    Args:
        abstract: True for a base class that only passes its options on to derived classes.
        options: The class keywords, such as ``channel``, ``max_messages`` and ``max_wait_s``.
            ``help(nsqkit.handler.options.BatchOptions)`` describes the two for batches, and
            ``HandlerOptions`` the others.

    Raises:
        HandlerError: On class creation, if the declaration has mistakes; lists all of them.
    """

    _options: ClassVar[Mapping[str, Any]] = {"max_messages": 100, "max_wait_s": 1.0}

    def __init_subclass__(cls, *, abstract: bool = False, **options: Unpack[BatchOptions]) -> None:
        super().__init_subclass__()
        known = BatchOptions.__optional_keys__
        cls._declare(BatchHandler, options, known=known, takes="batch", abstract=abstract)

    @abstractmethod
    def handle(
        self, batch: Sequence[Delivery[E]], /
    ) -> Awaitable[Mapping[str, Outcome] | None] | Mapping[str, Outcome] | None:
        """Handle a batch; ``async def`` runs on the loop, plain ``def`` in a thread.

        Args:
            batch: 1 to ``max_messages`` messages, in the order of their arrival.

        Returns:
            Outcomes by the key of the delivery. Messages without one succeeded; None means that all did.
            Raise an exception if the call failed.
        """
        raise NotImplementedError
