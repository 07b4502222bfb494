"""Transaction: the database transaction of one message, from its row in the inbox to its commit.

The functions are plain. On the event loop, SQLAlchemy calls them in a greenlet.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final, cast

from sqlalchemy import Connection, RootTransaction
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nsqkit.errors import TransactionError
from nsqkit.handler.context import Context
from nsqkit.handler.outgoing import Outgoing
from nsqkit.sql import inbox, outbox
from nsqkit.sql.engines import is_lock_timeout
from nsqkit.sql.inbox import InboxKey
from nsqkit.sql.open_database import OpenDatabase

_SAVEPOINT: Final = (
    "put statements that may fail into `with session.begin_nested():`, and roll back nothing else"
)


class HandledBeforeError(Exception):
    """The inbox has the event already."""


class LockedError(Exception):
    """Another transaction kept a lock for longer than ``lock_timeout_s``."""


class Transaction:
    """The transaction of one message.

    Args:
        session: The session of the message, on a connection of its own.
        database: The open database.

    Attributes:
        is_given_up: Whether the handler has not succeeded, whatever a middleware makes of it: nothing is
            committed.
    """

    def __init__(self, session: Session, database: OpenDatabase) -> None:
        self._session = session
        self._database = database
        self._outer: RootTransaction | None = None
        self._ctx: Context | None = None
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
        database, connection = self._database, self._connection
        self._ctx = ctx
        ctx.has_outbox = True
        try:
            self._outer = connection.begin()
            is_new = inbox.add(
                connection, key, now_s=database.now_s(), lock_timeout_s=database.lock_timeout_s
            )
        except DBAPIError as error:
            if is_lock_timeout(error):
                raise LockedError from error
            raise
        if not is_new:
            raise HandledBeforeError

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
        ctx = self._ctx if publishes else None
        outgoing = ctx.outgoing if ctx is not None else ()
        leaving = stored(self._connection, self._database, outgoing)
        self._session.commit()
        if self._outer is not None:
            self._outer.commit()
        if ctx is not None and outgoing:
            ctx.outgoing = leaving
        self._database.committed()

    def _require_usable(self) -> None:
        name = self._database.name
        if self._outer is not None and not self._outer.is_active:
            raise TransactionError(name, f"the handler has rolled back its transaction; {_SAVEPOINT}")
        if _has_failed(self._connection):
            raise TransactionError(
                name, f"the transaction has failed, and the handler caught the error; {_SAVEPOINT}"
            )

    @property
    def _connection(self) -> Connection:
        return cast("Connection", self._session.get_bind())


def _has_failed(connection: Connection) -> bool:
    """Return whether PostgreSQL only accepts a rollback; SQLite has no such state."""
    info = getattr(connection.connection.driver_connection, "info", None)
    return info is not None and info.transaction_status.name == "INERROR"


def stored(
    connection: Connection, database: OpenDatabase, outgoing: Sequence[Outgoing]
) -> tuple[Outgoing, ...]:
    """Add events to the outbox in the running transaction.

    Args:
        connection: A connection in a transaction.
        database: The open database.
        outgoing: The events.

    Returns:
        The events to publish after the commit, which are then marked as sent; a relay publishes the others
        at their time.
    """
    if not outgoing:
        return ()
    now_s = database.now_s()
    ids = outbox.store(connection, outgoing, now_s=now_s, lease_s=database.outbox_lease_s)
    return tuple(
        replace(each, is_stored=True, when_done=(*each.when_done, partial(_on_publish, database, row)))
        for each, row in zip(outgoing, ids, strict=True)
        if not outbox.is_scheduled(each, now_s=now_s)
    )


def _on_publish(database: OpenDatabase, row: int, error: BaseException | None) -> None:
    if error is None:
        database.confirmations.add(row)
