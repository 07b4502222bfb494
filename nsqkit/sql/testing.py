"""Testing: does what a relay does, at once and in the time of a test's harness."""

from typing import Protocol

from nsqkit.handler.wall_clock import WallClock
from nsqkit.settings.settings import Settings
from nsqkit.sql.database import Database
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.relay import PublishesRaw, Relay
from nsqkit.telemetry import logs


class Plays(PublishesRaw, Protocol):
    """Handlers under test; ``nsqkit.testing.Harness`` is one."""

    @property
    def settings(self) -> Settings: ...  # noqa: D102
    @property
    def wall_clock(self) -> WallClock: ...  # noqa: D102
    async def settle(self, *, through_delays: bool = False) -> None: ...  # noqa: D102


async def relayed(harness: Plays, *databases: Database) -> int:
    """Settle, and publish what is due in the outboxes, as ``nsqkit relay`` does, until nothing is left.

    Let time pass before, with ``h.clock.advance(…)``: then events with ``at=…`` are published, and sagas
    whose time has come are woken.

    Args:
        harness: The harness, entered.
        databases: The databases; 1 or more.

    Returns:
        How many events were published.

    Raises:
        SchemaError: If a database does not have nsqkit's tables.
    """
    count = 0
    await harness.settle()
    for database in databases:
        count += await _relayed(harness, database)
    return count


async def _relayed(harness: Plays, database: Database) -> int:
    settings, log = harness.settings, logs.get_logger()
    async with OpenDatabase.opened(database.name, settings, clock=harness.wall_clock) as found:
        relay = Relay(found, harness, lease_s=settings.outbox_lease_s, log=log)
        while await relay.sweep():
            await harness.settle()
        return relay.swept.sent
