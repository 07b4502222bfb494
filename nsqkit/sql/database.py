"""Database: what a team names in its handlers. It opens nothing; the worker does."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from nsqkit.errors import SettingsError
from nsqkit.handler.extension import Extension
from nsqkit.handler.once import BatchInbox, EventKey
from nsqkit.handler.outgoing import Preparer
from nsqkit.handler.resources import Resource
from nsqkit.handler.wall_clock import WallClock, clock
from nsqkit.policy.verdict import Verdict
from nsqkit.settings.settings import Settings
from nsqkit.sql import schema
from nsqkit.sql.batch_once import DatabaseBatchInbox
from nsqkit.sql.once import HandlerInbox, InboxExtension, handling
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.outage import as_outage
from nsqkit.sql.transaction import Transaction
from nsqkit.sql.urls import DatabaseUrl
from nsqkit.sql.writer import OutboxWriter

if TYPE_CHECKING:
    from nsqkit.publishing.publisher import Publisher

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
# The transaction of a message encloses those that its handler commits by itself.
_JOINS: Final[dict[str, Any]] = {"join_transaction_mode": "rollback_only", "expire_on_commit": False}


class Database:
    """A database of the team, by its name. Define it once, in a module.

    The URL of ``Database("inventory")`` is the team's own setting ``inventory_url``:
    ``NSQKIT_APP_INVENTORY_URL``, or a key of the table ``[app]`` in ``nsqkit.toml``. A worker connects
    when it starts, if one of its handlers uses the database.

    Args:
        name: Lower-case letters, digits and ``_``.

    Attributes:
        session: The ``AsyncSession`` of a message, for ``ctx.resource`` in an ``async def handle``.
        plain_session: The ``Session`` of a message, for ``ctx.resource`` in a plain ``def handle``.

    Raises:
        SettingsError: If the name is not valid.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):  # type: ignore[redundant-expr]
            raise SettingsError(f"Database({name!r}): give lower-case letters, digits and _")
        self.name = name
        self._kind: type[OpenDatabase] = type(
            f"OpenDatabase_{name}", (OpenDatabase,), {}
        )  # each has its own, to be found by type
        self.opened = opened = self._opened()  # for other parts of nsqkit, too
        self.session: Resource[AsyncSession] = self._session(opened)
        self.plain_session: Resource[Session] = self._plain_session(opened)

    def __repr__(self) -> str:
        return f"Database({self.name!r})"

    def inbox(self, handler: str, *, is_async: bool, event_key: EventKey | None) -> Extension:
        """Return the extension that lets a handler handle each event once; for ``once=`` of a handler.

        Args:
            handler: Name of the handler class.
            is_async: Whether its ``handle`` is a coroutine function.
            event_key: Identifies events without an envelope; None if the handler takes none.
        """
        return InboxExtension(self._inbox(handler, event_key, is_async=is_async))

    def batch_inbox(self, handler: str, *, is_async: bool, event_key: EventKey | None) -> BatchInbox:
        """Return the same for a batch handler; arguments as of :meth:`inbox`."""
        return DatabaseBatchInbox(self._inbox(handler, event_key, is_async=is_async))

    def _inbox(self, handler: str, event_key: EventKey | None, *, is_async: bool) -> HandlerInbox:
        return HandlerInbox(handler, self.session if is_async else self.plain_session, event_key)

    @asynccontextmanager
    async def outbox(
        self, publisher: "Publisher", *, settings: Settings | None = None, source: str | None = None
    ) -> AsyncIterator[OutboxWriter]:
        """Open the outbox for a program with an event loop, such as a web service, as long as it runs.

        Args:
            publisher: Publishes the events after their commit.
            settings: The URL and the lease; by default read from the environment and the settings file.
            source: The ``source`` of envelopes; by default the setting ``service``.

        Raises:
            SettingsError: If the URL is missing, or names no supported database.
            SchemaError: If the schema of the database is not that of this nsqkit.
        """
        found = settings or Settings.load()
        preparer = Preparer(source=source or found.service, max_msg_bytes=found.max_msg_bytes)
        async with (
            self._kind.opened(self.name, found) as database,
            OutboxWriter(database, publisher, preparer) as writer,
        ):
            yield writer

    @asynccontextmanager
    async def sessions(self, settings: Settings) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
        """Connect in a program that is no worker and has no publisher, and yield what makes sessions.

        A session writes rows, and events to the outbox, in one transaction; a relay publishes them::

            async with database.sessions(Settings.load()) as sessions:
                async with sessions.begin() as session:
                    session.add(Order(...))
                    outbox.add(session, OrderPlaced(...))

        Transactions begin as in a handler: on SQLite they take the write lock, and one runs at a time.

        Args:
            settings: The URL, and the limits.

        Raises:
            SettingsError: If the URL is missing, or names no supported database.
            SchemaError: If the schema of the database is not that of this nsqkit.
        """
        async with self._kind.opened(self.name, settings) as database:
            yield async_sessionmaker(database.engines.on_loop, expire_on_commit=False)

    def upgrade(self, settings: Settings) -> tuple[str | None, str]:
        """Create or upgrade nsqkit's tables, as ``nsqkit db upgrade`` does.

        Args:
            settings: The URL.

        Returns:
            The revisions of the schema before, None for none, and after.

        Raises:
            SettingsError: If the URL is missing, or names no supported database.
            SchemaError: If the schema is newer than this nsqkit.
        """
        return schema.upgrade(DatabaseUrl.read(self.name, settings), self.name)

    def _opened(self) -> Resource[OpenDatabase]:
        async def opened(settings: Settings, clock: WallClock) -> AsyncIterator[OpenDatabase]:
            async with self._kind.opened(self.name, settings, clock=clock) as found:
                yield found

        opened.__name__ = self.name
        opened.__annotations__["return"] = AsyncIterator[self._kind]  # type: ignore[name-defined]
        return Resource(opened, figures=OpenDatabase.figures)

    def of_message(self, function: Any, name: str, opened: Resource[OpenDatabase]) -> Resource[Any]:
        """Return a resource of messages; for other parts of nsqkit.

        Args:
            function: Generator function, whose parameter ``database`` is the open database.
            name: Name of the resource, after that of the database.
            opened: The open database.
        """
        function.__name__ = f"{self.name}.{name}"
        function.__annotations__["database"] = self._kind
        return Resource(function, "message", brings=(opened, clock))

    def _session(self, opened: Resource[OpenDatabase]) -> Resource[AsyncSession]:
        async def session(database: OpenDatabase) -> AsyncGenerator[AsyncSession, Verdict]:
            with as_outage(self.name):
                async with (
                    database.engines.on_loop.connect() as connection,
                    AsyncSession(connection, **_JOINS) as found,
                ):
                    transaction = found.info[Transaction] = Transaction(found.sync_session, database)
                    with transaction.watched():
                        verdict = yield found
                        await found.run_sync(lambda _: transaction.end(verdict))

        return self.of_message(session, "session", opened)

    def _plain_session(self, opened: Resource[OpenDatabase]) -> Resource[Session]:
        def plain_session(database: OpenDatabase) -> Generator[Session, Verdict, None]:
            with (
                as_outage(self.name),
                database.engines.plain.connect() as connection,
                Session(connection, **_JOINS) as found,
            ):
                transaction = found.info[Transaction] = Transaction(found, database)
                with transaction.watched():
                    handled = handling.get()
                    if handled is not None and handled.session is self.plain_session:
                        transaction.begin(handled.key, handled.ctx)
                    verdict = yield found
                    transaction.end(verdict)

        return self.of_message(plain_session, "plain_session", opened)
