"""Transaction: the database transaction of one call, from its rows in the inbox to its commit.

The functions are plain. On the event loop, SQLAlchemy calls them in a greenlet.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Connection, RootTransaction
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nsqkit.errors import PublishError, TransactionError
from nsqkit.handler.context import Context
from nsqkit.handler.outgoing import Outgoing
from nsqkit.policy.verdict import OutcomeLabel, Verdict
from nsqkit.sql import inbox, outbox, requeue
from nsqkit.sql.engines import is_lock_timeout
from nsqkit.sql.inbox import InboxKey
from nsqkit.sql.locks import LockedError, limit, limited
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.requeue import LongRequeue, Waiting

T = TypeVar("T")
_COMMITS: Final = frozenset({OutcomeLabel.SUCCESS, OutcomeLabel.DISCARD})
_SAVEPOINT: Final = (
    "put statements that may fail into `with session.begin_nested():`, and roll back nothing else"
)


class HandledBeforeError(Exception):
    """The inbox has the event already."""


class Transaction:
    """The transaction of one call of a handler.

    Args:
        session: The session of the call, on a connection of its own.
        database: The open database.

    Attributes:
        is_given_up: Whether the handler has not succeeded, whatever a middleware makes of it: nothing is
            committed.
        publishing: Contexts of the messages whose follow-up events become rows of the outbox.
        requeues: Requeues of a batch that become rows after the end of the transaction.
    """

    def __init__(self, session: Session, database: OpenDatabase) -> None:
        self._session = session
        self._connection = cast("Connection", session.get_bind())
        self._database = database
        self._outer: RootTransaction | None = None
        self._key: InboxKey | None = None
        self._resumed: dict[InboxKey, Waiting] = {}
        self.publishing: Sequence[Context] = ()
        self.requeues: Sequence[LongRequeue] = ()
        self.is_given_up = False

    def begin(self, key: InboxKey, ctx: Context) -> None:
        """Begin with the row of the event. Without this call, the session begins by itself.

        ``session.commit()`` of the handler ends nothing then: the transaction belongs to the message.

        Args:
            key: The event and its handler.
            ctx: Context of the message; what it publishes becomes rows of the outbox.

        Raises:
            HandledBeforeError: If the handler has handled the event before.
            LockedError: If another transaction that handles it takes too long.
        """
        self._key, self.publishing = key, (ctx,)
        if not self._begin(inbox.add, key) and not self._resume({key: ctx}):
            raise HandledBeforeError

    def begin_batch(
        self, events: Mapping[InboxKey, Context], contexts: Sequence[Context]
    ) -> frozenset[InboxKey]:
        """Begin with the rows of several events, and return those that the handler has not handled before.

        Args:
            events: The events of one handler, each with the Context of one message; 1 or more.
            contexts: Contexts of all messages; what they publish becomes rows of the outbox.

        Raises:
            LockedError: If another transaction that handles one of them takes too long.
        """
        self.publishing = contexts
        added = self._begin(inbox.add_all, tuple(events))
        return added | self._resume({key: ctx for key, ctx in events.items() if key not in added})

    def leave_out(self, keys: Sequence[InboxKey]) -> None:
        """Delete rows of the running transaction, of events that the handler has not finished.

        Args:
            keys: The events; none is allowed.
        """
        added = [key for key in keys if key not in self._resumed]
        if added:
            inbox.remove(self._connection, added)
        requeue.put_back(
            self._connection, ((key, self._resumed[key]) for key in keys if key in self._resumed)
        )

    def _resume(self, events: Mapping[InboxKey, Context]) -> frozenset[InboxKey]:
        """Return those of some events in the inbox whose requeue is due: they are to be handled again."""
        if events:
            with limited(self._database.lock_timeout_s):
                self._resumed = requeue.resume(self._connection, events, now_s=self._database.now_s())
        return frozenset(self._resumed)

    def _begin(self, add: Callable[..., T], what: Any) -> T:
        database, connection = self._database, self._connection
        for ctx in self.publishing:
            ctx.has_outbox = True
        lock_timeout_s = database.lock_timeout_s
        try:  # without limited(): this is for each message
            self._outer = connection.begin()
            return add(connection, what, now_s=database.now_s(), lock_timeout_s=lock_timeout_s)
        except DBAPIError as error:
            if is_lock_timeout(error):
                raise LockedError(lock_timeout_s) from error
            raise

    def end(self, verdict: Verdict) -> None:
        """Commit if a verdict finishes the message; store a requeue that is too long for nsqd.

        Args:
            verdict: The verdict on the call.

        Raises:
            TransactionError: As of :meth:`commit`.
        """
        if verdict.label in _COMMITS:
            self.commit(publishes=verdict.label is OutcomeLabel.SUCCESS)
        elif self._key is not None:
            asked = LongRequeue.of(self._key, self.publishing[0], verdict)
            self.requeues = () if asked is None else (asked,)
        is_dead = verdict.label is OutcomeLabel.DEAD_LETTER and self._resumed
        if not (self.requeues or is_dead):
            return
        with suppress(LockedError):  # another copy of the event may be handled at this moment
            if self.requeues:
                self._store(self.requeues)
            else:
                self._afterwards(lambda: requeue.forget(self._connection, self._resumed))

    def _store(self, requeues: Sequence[LongRequeue]) -> None:
        """Add the rows of requeues. A message that gets none is requeued in nsqd, for a shorter time."""
        now_s = self._database.now_s()

        def work() -> list[LongRequeue]:
            return [each for each in requeues if requeue.store(self._connection, each, now_s=now_s)]

        for each in self._afterwards(work):
            each.ctx.is_stored = True

    def _afterwards(self, work: Callable[[], T]) -> T:
        """Do work in a transaction of its own, after the end of this one."""
        connection, lock_timeout_s = self._connection, self._database.lock_timeout_s
        self._session.rollback()
        if (running := connection.get_transaction()) is not None:
            running.rollback()
        with limited(lock_timeout_s):
            following = connection.begin()
            limit(connection, lock_timeout_s)
            done = work()
        self._commit(following)
        self._database.committed()
        return done

    def commit(self, *, publishes: bool) -> None:
        """Write what the session has not written yet and the follow-up events, and commit.

        Args:
            publishes: Whether the handler's follow-up events are published.

        Raises:
            TransactionError: If the handler has rolled back, or has caught an error that ended the
                transaction: its writes are lost, and PostgreSQL would answer the commit with a rollback.
        """
        if self.is_given_up:
            return
        self._session.flush()
        self._require_usable()
        publishing = [ctx for ctx in self.publishing if ctx.outgoing] if publishes else []
        outgoing = [each for ctx in publishing for each in ctx.outgoing]
        self._session.commit()
        left = iter(stored(self._connection, self._database, outgoing, commits=True))
        if self._outer is not None:
            self._commit(self._outer)
        for ctx in publishing:
            ctx.outgoing = tuple(filter(None, islice(left, len(ctx.outgoing))))
        self._database.committed()

    def _commit(self, transaction: RootTransaction) -> None:
        try:
            transaction.commit()
        except BaseException as error:  # SQLite keeps the transaction, and with it the lock
            self._connection.invalidate(error)
            raise

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Drop the follow-up events if the call or the commit raises, whatever a middleware makes of it."""
        try:
            yield
        except BaseException:
            for ctx in self.publishing:
                drop_events(ctx)
            raise

    def _require_usable(self) -> None:
        name = self._database.name
        if self._outer is not None and not self._outer.is_active:
            raise TransactionError(name, f"the handler has rolled back its transaction; {_SAVEPOINT}")
        if _has_failed(self._connection):
            raise TransactionError(
                name, f"the transaction has failed, and the handler caught the error; {_SAVEPOINT}"
            )


def drop_events(ctx: Context) -> None:
    """Drop the follow-up events of a message, since its transaction was rolled back."""
    dropped, ctx.outgoing = ctx.outgoing, ()
    for each in dropped:
        each.done(PublishError(each.topic, "", "its transaction was rolled back", permanent=True))


def _has_failed(connection: Connection) -> bool:
    """Return whether PostgreSQL only accepts a rollback; SQLite has no such state."""
    if connection.dialect.name != "postgresql":
        return False
    from nsqkit.sql.driver import has_failed  # noqa: PLC0415 - SQLite does without psycopg

    return has_failed(connection)


def stored(
    connection: Connection, database: OpenDatabase, outgoing: Sequence[Outgoing], *, commits: bool = False
) -> list[Outgoing | None]:
    """Add events to the outbox in the running transaction.

    Args:
        connection: A connection in a transaction.
        database: The open database.
        outgoing: The events.
        commits: As of :func:`outbox.store`.

    Returns:
        Each event as it is published after the commit, and is then marked as sent; None for one that a relay
        publishes at its time.
    """
    if not outgoing:
        return []
    now_s = database.now_s()
    ids = outbox.store(connection, outgoing, now_s=now_s, lease_s=database.outbox_lease_s, commits=commits)
    return [
        None if outbox.is_scheduled(each, now_s=now_s) else each.stored(partial(_on_publish, database, row))
        for each, row in zip(outgoing, ids, strict=True)
    ]


def _on_publish(database: OpenDatabase, row: int, error: BaseException | None) -> None:
    if error is None:
        database.confirmations.add(row)
