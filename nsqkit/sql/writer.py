"""Writer: adds events to the transactions of a program, and publishes them right after the commit."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from sqlalchemy import Engine, event, inspect
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from nsqkit.background import Background
from nsqkit.events.any_event import AnyEvent
from nsqkit.handler.outgoing import Preparer
from nsqkit.policy.redaction import describe
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.outbox import OutboxRow, StoredEvent, is_scheduled
from nsqkit.telemetry import logs

if TYPE_CHECKING:
    from nsqkit.sql.relay import PublishesRaw

_ADDED: Final = "nsqkit_outbox_added"


@dataclass(frozen=True, slots=True)
class _Added:
    """An event that a session has, and the writer that publishes it after the commit."""

    writer: "OutboxWriter"
    row: OutboxRow
    event: StoredEvent

    @property
    def committed(self) -> StoredEvent | None:
        """The event with its id; None if it was rolled back, as by the end of a savepoint."""
        state = inspect(self.row)
        return replace(self.event, id=state.identity[0]) if state.persistent and state.identity else None


class OutboxWriter:
    """Adds events to transactions, and publishes them right after the commit. An async context manager.

    Sessions may be plain or asynchronous, and in any thread. For ``outbox_lease_s``, no relay publishes what
    this process is about to publish; then a relay does, if nsqd has not confirmed it.

    Args:
        database: The open database.
        publisher: Publishes to nsqd, on this event loop.
        preparer: Encodes the events.

    Attributes:
        sessions: Makes asynchronous sessions of the database, as ``Database.sessions`` does. Others may have
            events, too.
    """

    def __init__(self, database: OpenDatabase, publisher: "PublishesRaw", preparer: Preparer) -> None:
        self._database = database
        self.sessions = async_sessionmaker(database.engines.on_loop, expire_on_commit=False)
        self._publisher = publisher
        self._preparer = preparer
        self._log = logs.get_logger()
        self._background = Background(self._log)
        self._loop = asyncio.get_running_loop()
        self._publishing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)  # a thread may have committed just now
        while self._publishing:
            await asyncio.wait(self._publishing)

    def add(
        self,
        session: Session | AsyncSession,
        event: AnyEvent,
        *,
        topic: str | None = None,
        defer_s: float = 0.0,
        at: datetime | None = None,
        partition_key: str | None = None,
        sequence: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Add an event to the transaction of a session, to be published right after its commit.

        A relay publishes the events of a session on a connection whose transaction somebody else commits,
        and those with a later time.

        Args:
            session: The session. It is neither flushed nor committed.
            event: An instance of a class decorated with ``@event``; encoded immediately.
            topic: Topic to publish to; by default the topic of its ``@event``.
            defer_s: Seconds from now until a consumer gets it; 0 to 3600.
            at: Time at which a relay publishes it, with a time zone; one in the past is now.
            partition_key: What the event belongs to, such as an order: the attribute ``partitionkey``.
            sequence: Its place among the events of that key, a text that grows: the attribute ``sequence``.
            attributes: Extension attributes of the envelope, such as ``correlationid`` and ``traceparent``
                of the request.

        Raises:
            EncodeError: If it is not an event, has no topic, or cannot be written as JSON; if *at* has no
                time zone, or *defer_s* is given too.
        """
        outgoing = self._preparer.event(
            event,
            topic,
            defer_s,
            partition_key=partition_key,
            sequence=sequence,
            extensions=attributes or {},
            at=at,
        )
        if outgoing is None:
            return
        now_s = self._database.now_s()
        plain = session.sync_session if isinstance(session, AsyncSession) else session
        row = OutboxRow(outgoing, now_s)
        if not is_scheduled(outgoing, now_s=now_s) and isinstance(plain.get_bind(OutboxRow), Engine):
            row.claimed_until += self._database.outbox_lease_s
            _added(plain).append(_Added(self, row, StoredEvent(0, row.topic, row.body, row.due_at)))
        plain.add(row)

    def committed(self, events: Sequence[StoredEvent]) -> None:
        """Publish committed events in the background; called in any thread.

        Args:
            events: The events; 1 or more.
        """
        with suppress(RuntimeError):  # the event loop has ended: a relay publishes them
            self._loop.call_soon_threadsafe(self._start, events)

    def _start(self, events: Sequence[StoredEvent]) -> None:
        task = self._background.start(self._publish_all(events), f"outbox of database {self._database.name}")
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _publish_all(self, events: Sequence[StoredEvent]) -> None:
        results = await asyncio.gather(*map(self._publish, events), return_exceptions=True)
        for each, error in zip(events, results, strict=True):
            if error is None:
                self._database.confirmations.add(each.id)
        if failures := [error for error in results if error is not None]:
            self._log.warning(
                "events_left_to_relay",
                database=self._database.name,
                count=len(failures),
                reason=describe(failures[0]),
            )

    async def _publish(self, event: StoredEvent) -> None:
        defer_s = max(0.0, event.due_at - self._database.now_s())
        async with asyncio.timeout(self._database.outbox_lease_s):  # then a relay may publish it
            await self._publisher.publish_raw(event.topic, event.body, defer_s=defer_s)


def _added(session: Session) -> list[_Added]:
    """Return the events that a session has for after its next commit."""
    if _ADDED not in session.info:
        session.info[_ADDED] = []
        event.listen(session, "after_commit", _after_commit)
    found: list[_Added] = session.info[_ADDED]
    return found


def _after_commit(session: Session) -> None:
    if session.in_nested_transaction():  # the end of a savepoint
        return
    added, session.info[_ADDED] = session.info[_ADDED], []
    by_writer: dict[OutboxWriter, list[StoredEvent]] = {}
    for each in added:
        if (stored := each.committed) is not None:
            by_writer.setdefault(each.writer, []).append(stored)
    for writer, events in by_writer.items():
        writer.committed(events)
