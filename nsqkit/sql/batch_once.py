"""Batch once: lets a batch handler handle each event once, with one transaction for each of its calls."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from nsqkit.handler.batch import Delivery
from nsqkit.handler.once import BatchHandle, BatchInbox
from nsqkit.policy.outcome import DeadLetter, Duplicate, Finish, Outcome, Requeue
from nsqkit.runtime.batch_call import checked_outcomes
from nsqkit.sql.inbox import InboxKey
from nsqkit.sql.locks import LockedError
from nsqkit.sql.once import NAMELESS, HandlerInbox, is_final_outcome
from nsqkit.sql.requeue import LongRequeue
from nsqkit.sql.transaction import Transaction

if TYPE_CHECKING:
    from nsqkit.handler.context import Context

Outcomes = dict[str, Outcome | Duplicate]


class DatabaseBatchInbox(BatchInbox):
    """Asks the inbox before each call of one batch handler.

    Args:
        inbox: The inbox of the handler; its session is that of a call.
    """

    def __init__(self, inbox: HandlerInbox) -> None:
        self.uses = (inbox.session,)
        self._inbox = inbox

    def around(self, handle: BatchHandle) -> BatchHandle:
        """Return a method that leaves out messages handled before, and gives them the outcome ``Duplicate``.

        Args:
            handle: The method; it may be called with fewer deliveries, and is not called with none.
        """

        async def on_loop(batch: Sequence[Delivery[Any]]) -> Outcomes:
            session: AsyncSession = batch[0].ctx.resource(self._inbox.session)
            handling = self._handling(batch, session)
            await session.run_sync(lambda _: handling.begin())
            returned = await handle(handling.new) if handling.new else None
            return await session.run_sync(lambda _: handling.end(returned))

        def in_thread(batch: Sequence[Delivery[Any]]) -> Outcomes:
            handling = self._handling(batch, batch[0].ctx.resource(self._inbox.session))
            handling.begin()
            return handling.end(handle(handling.new) if handling.new else None)

        return on_loop if self._inbox.session.is_async else in_thread

    def _handling(self, batch: Sequence[Delivery[Any]], session: AsyncSession | Session) -> "_Handling":
        keys = [self._inbox.key_of(each.event, each.ctx) for each in batch]
        return _Handling(self._inbox.handler, batch, keys, self._inbox.transaction_of(session))


class _Handling:
    """One call of a batch handler.

    Args:
        handler: Name of the handler class.
        batch: The deliveries; 1 or more.
        keys: The key of each; None if nothing identifies its event.
        transaction: The transaction of the call.

    Attributes:
        new: Deliveries of events that the handler has not handled before, each event once.
    """

    def __init__(
        self,
        handler: str,
        batch: Sequence[Delivery[Any]],
        keys: Sequence[InboxKey | None],
        transaction: Transaction,
    ) -> None:
        self._handler = handler
        self._batch = batch
        self._transaction = transaction
        self._outcomes: Outcomes = {}
        self._copies: dict[InboxKey, list[Delivery[Any]]] = {}
        for delivery, key in zip(batch, keys, strict=True):
            if key is None:
                self._outcomes[delivery.key] = DeadLetter(NAMELESS)
            else:
                self._copies.setdefault(key, []).append(delivery)
        for copies in self._copies.values():  # a requeue that is due counts before its early copies
            copies.sort(key=lambda each: not each.ctx.delivery.is_replayed)
        self._new: dict[InboxKey, Delivery[Any]] = {}

    @property
    def new(self) -> tuple[Delivery[Any], ...]:
        return tuple(self._new.values())

    def begin(self) -> None:
        """Begin the transaction with the rows of all events.

        Raises:
            LockedError: If another transaction that handles one of several events takes too long: each is
                handled by itself then.
        """
        self._transaction.is_given_up = True
        added: frozenset[InboxKey] = frozenset()
        outcome: Outcome | Duplicate = Duplicate()
        try:
            if self._copies:
                events = {key: copies[0].ctx for key, copies in self._copies.items()}
                added = self._transaction.begin_batch(events, [each.ctx for each in self._batch])
        except LockedError:
            if len(self._batch) > 1:
                raise
            outcome = Requeue()
        self._new = {key: copies[0] for key, copies in self._copies.items() if key in added}
        for key in self._copies.keys() - added:
            self._outcomes.update((each.key, outcome) for each in self._copies[key])

    def end(self, returned: Any) -> Outcomes:
        """Return the outcomes of all deliveries. Rows of events that are not finished are deleted.

        Args:
            returned: What the handler returned.

        Raises:
            TypeError: If it is not outcomes by key.
            ValueError: If a key is not of one of the deliveries.
        """
        given = checked_outcomes(self._handler, returned, self.new)
        left: list[InboxKey] = []
        publishing: list[Context] = []
        requeues: list[LongRequeue] = []
        for key, delivery in self._new.items():
            outcome = given.get(delivery.key, Finish())
            is_final = is_final_outcome(outcome)
            if not is_final:
                left.append(key)
                verdict = delivery.ctx.delivery.verdict_on(outcome)
                requeues += filter(None, (LongRequeue.of(key, delivery.ctx, verdict),))
            elif isinstance(outcome, Finish):
                publishing.append(delivery.ctx)
            self._outcomes[delivery.key] = outcome
            copies = self._copies[key][1:]
            self._outcomes.update((each.key, Duplicate() if is_final else outcome) for each in copies)
        self._transaction.is_given_up = len(left) == len(self._new)
        self._transaction.publishing, self._transaction.requeues = publishing, requeues
        if not self._transaction.is_given_up:
            self._transaction.leave_out(left)
        return self._outcomes
