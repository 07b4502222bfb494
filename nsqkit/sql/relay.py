"""Relay: publishes the events of an outbox that the process which wrote them has not published."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

from nsqkit.errors import PublishError
from nsqkit.policy.redaction import describe, redact
from nsqkit.policy.refusal import Fault, fault_behind
from nsqkit.sql import outbox
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.outbox import StoredEvent
from nsqkit.sql.saga.waking import wake

MOST_CLAIMED: Final = 500
"""Most events that one sweep claims, so that it publishes them all within the lease."""
MEASURE_S: Final = 60.0
"""Seconds from one measurement of the server's clock to the next."""
POLL_S: Final = 1.0
"""Seconds from one sweep to the next if there was nothing left."""
HANGS_S: Final = 600.0
"""Seconds after which a sweep counts as one that never ends: its publishes end with the lease."""


class PublishesRaw(Protocol):
    """Publishes bodies; ``Publisher`` does."""

    async def publish_raw(self, topic: str, body: bytes, *, defer_s: float = 0.0) -> None: ...  # noqa: D102


@dataclass(slots=True)
class Swept:
    """What a relay has done.

    Attributes:
        sent: Events that nsqd has confirmed.
        parked: Events that can never be published.
        failed: Events that are tried again when their lease is over.
    """

    sent: int = 0
    parked: int = 0
    failed: int = 0


class Relay:
    """Sweeps one outbox: what is due, and what nobody else publishes.

    Several relays of one database share the work.

    Args:
        database: The open database.
        publisher: Publishes to nsqd; to the next one if one is away.
        lease_s: Seconds for which no other relay publishes what this one has claimed; above 0.
        log: structlog logger.
        woken: Set by the commits of events, to sweep at once; None to poll only.

    Attributes:
        swept: What it has done so far.
    """

    def __init__(
        self,
        database: OpenDatabase,
        publisher: PublishesRaw,
        *,
        lease_s: float,
        log: Any,
        woken: asyncio.Event | None = None,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._lease_s = lease_s
        self._log = log
        self._woken = woken or asyncio.Event()
        self._unread, self._unsent = "no sweep has ended yet", ""
        self._ended_s = asyncio.get_running_loop().time()
        self.swept = Swept()

    def faults(self) -> tuple[str, ...]:
        """Return why only a restart helps; empty if the relay is live."""
        hangs_s = asyncio.get_running_loop().time() - self._ended_s
        longest_s = HANGS_S + self._lease_s
        return (f"no sweep has ended for {hangs_s:.0f} s",) if hangs_s > longest_s else ()

    def problems(self) -> tuple[str, ...]:
        """Return why events wait; empty if the database and nsqd have answered."""
        return tuple(filter(None, (self._unread, self._unsent)))

    async def sweep(self) -> int:
        """Wake sagas that are due, and publish events outside of the transaction that claims them.

        Events that nsqd has confirmed are marked as sent.

        Returns:
            How many events were claimed; 0 if none waits.

        Raises:
            SQLAlchemyError: If the database fails. Events that were published may be published again.
        """
        now_s = self._database.now_s()
        async with self._database.engines.on_loop.begin() as connection:
            await connection.run_sync(wake, now_s=now_s, most=MOST_CLAIMED)
            claimed: list[StoredEvent] = await connection.run_sync(
                outbox.claim, now_s=now_s, lease_s=self._lease_s, most=MOST_CLAIMED
            )
        self._database.committed()
        if claimed:
            results = await asyncio.gather(*map(self._publish, claimed), return_exceptions=True)
            await self._record(claimed, results)
        return len(claimed)

    async def run(self, stop: asyncio.Event, *, exit_when_idle: bool = False) -> None:
        """Sweep until *stop* is set; a database that fails is tried again.

        Args:
            stop: Ends the relay after the running sweep.
            exit_when_idle: Whether to end when no event waits, apart from those that are claimed.
        """
        measured_s = self._database.now_s()
        while not stop.is_set():
            count = 0
            try:
                if self._database.now_s() >= measured_s + MEASURE_S:
                    await self._database.measure_clock()
                    measured_s = self._database.now_s()
                count = await self.sweep()
                self._unread = ""
            except SQLAlchemyError as error:
                self._unread = f"database {self._database.name}: {describe(error)}"
                self._log.error("relay_failed", database=self._database.name, reason=describe(error))
            self._ended_s = asyncio.get_running_loop().time()
            if count < MOST_CLAIMED:
                if exit_when_idle and not count:
                    return
                await self._rest(stop, 0.0 if exit_when_idle else POLL_S)

    async def _rest(self, stop: asyncio.Event, for_s: float) -> None:
        """Wait until it is time for the next sweep, or for the end."""
        waits = [asyncio.ensure_future(each.wait()) for each in (stop, self._woken)]
        await asyncio.wait(waits, timeout=for_s, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        self._woken.clear()

    async def _publish(self, event: StoredEvent) -> None:
        defer_s = max(0.0, event.due_at - self._database.now_s())
        async with asyncio.timeout(self._lease_s):  # then another relay may publish it
            await self._publisher.publish_raw(event.topic, event.body, defer_s=defer_s)

    async def _record(self, claimed: Sequence[StoredEvent], results: Sequence[BaseException | None]) -> None:
        now_s, swept = self._database.now_s(), self.swept
        sent = [event.id for event, error in zip(claimed, results, strict=True) if error is None]
        unsent = [(event, error) for event, error in zip(claimed, results, strict=True) if error is not None]
        hopeless = [(event, error) for event, error in unsent if _is_hopeless(error)]
        async with self._database.engines.on_loop.begin() as connection:
            if sent:
                await connection.run_sync(outbox.mark_sent, sent, now_s=now_s)
            for event, error in hopeless:
                await connection.run_sync(outbox.park, event.id, redact(str(error)), now_s=now_s)
        self._unsent = "" if sent else self._unsent
        swept.sent += len(sent)
        swept.parked += len(hopeless)
        swept.failed += len(unsent) - len(hopeless)
        for event, error in hopeless:
            self._log.error("event_parked", topic=event.topic, row=event.id, reason=redact(str(error)))
        if len(unsent) > len(hopeless):
            waiting = next(error for event, error in unsent if not _is_hopeless(error))
            self._unsent = f"events wait: {describe(waiting)}"
            self._log.warning(
                "relay_waits",
                database=self._database.name,
                count=len(unsent) - len(hopeless),
                reason=describe(waiting),
                retry_in_s=self._lease_s,
            )


def _is_hopeless(error: BaseException) -> bool:
    """Return whether an event can never be published: nsqd refuses this message, whatever people set."""
    if not isinstance(error, PublishError) or not error.permanent:
        return False
    return fault_behind(error) in {Fault.MESSAGE, None}
