"""Transaction: the database transaction of one call, from its rows in the inbox to its commit.

The functions are plain. On the event loop, SQLAlchemy calls them in a greenlet.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Connection, RootTransaction
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nsqkit.errors import PublishError, TransactionError
from nsqkit.handler.context import Context
from nsqkit.handler.outgoing import Outgoing
from nsqkit.sql import inbox, outbox
from nsqkit.sql.engines import is_lock_timeout
from nsqkit.sql.inbox import InboxKey
from nsqkit.sql.open_database import OpenDatabase

T = TypeVar("T")
_SAVEPOINT: Final = (
    "put statements that may fail into `with session.begin_nested():`, and roll back nothing else"
)


class HandledBeforeError(Exception):
    """The inbox has the event already."""


class LockedError(Exception):
    """Another transaction kept a lock for longer than ``lock_timeout_s``."""


class Transaction:
    """The transaction of one call of a handler.

    Args:
        session: The session of the call, on a connection of its own.
        database: The open database.

    Attributes:
        is_given_up: Whether the handler has not succeeded, whatever a middleware makes of it: nothing is
            committed.
        publishing: Contexts of the messages whose follow-up events become rows of the outbox.
    """

    def __init__(self, session: Session, database: OpenDatabase) -> None:
        self._session = session
        self._connection = cast("Connection", session.get_bind())
        self._database = database
        self._outer: RootTransaction | None = None
        self.publishing: Sequence[Context] = ()
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
        self.publishing = (ctx,)
        if not self._begin(inbox.add, key):
            raise HandledBeforeError

    def begin_batch(self, keys: Sequence[InboxKey], contexts: Sequence[Context]) -> frozenset[InboxKey]:
        """Begin with the rows of several events, and return those that the handler has not handled before.

        Args:
            keys: The events of one handler; 1 or more.
            contexts: Contexts of their messages; what they publish becomes rows of the outbox.

        Raises:
            LockedError: If another transaction that handles one of them takes too long.
        """
        self.publishing = contexts
        return self._begin(inbox.add_all, keys)

    def leave_out(self, keys: Sequence[InboxKey]) -> None:
        """Delete rows of the running transaction, of events that the handler has not finished.

        Args:
            keys: The events; none is allowed.
        """
        if keys:
            inbox.remove(self._connection, keys)

    def _begin(self, add: Callable[..., T], what: Any) -> T:
        database, connection = self._database, self._connection
        for ctx in self.publishing:
            ctx.has_outbox = True
        try:
            self._outer = connection.begin()
            return add(connection, what, now_s=database.now_s(), lock_timeout_s=database.lock_timeout_s)
        except DBAPIError as error:
            if is_lock_timeout(error):
                raise LockedError(
                    f"another transaction kept a lock for longer than {database.lock_timeout_s:g} s"
                ) from error
            raise

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
