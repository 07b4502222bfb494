"""Collect: `nsqkit dead collect` as a function, from settings to a report; the Collector does the work."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from nsqkit.dead_letters.collector import Collector
from nsqkit.dead_letters.store import Store
from nsqkit.errors import SettingsError
from nsqkit.program import OnSecondSignal, stop_event, unless
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """The result of a collection.

    Args:
        stored: Dead letters that were added to the store.
        known: Redeliveries of dead letters that the store had already.
        missing: Topics that were selected and that no nsqd has.
    """

    stored: int
    known: int
    missing: frozenset[str]


def collect(
    settings: Settings,
    *,
    topics: frozenset[str] | None = None,
    exit_when_idle: bool = False,
    on_second_signal: OnSecondSignal = None,
) -> CollectionReport:
    """Collect dead letters until SIGTERM or SIGINT; runs an event loop of its own.

    Args:
        settings: The nsqd, nsqlookupd and the path of the store.
        topics: The dead-letter topics to collect; None for all.
        exit_when_idle: Whether to end when no dead letter is left in NSQ.
        on_second_signal: See :func:`~nsqkit.program.stop_event`.

    Raises:
        SettingsError: If the settings name no nsqd and no nsqlookupd.
        LookupFailedError: If it is unknown whether any dead letter is left.
        DeadLetterStoreError: If the store cannot be used.
    """
    if not (settings.nsqd or settings.lookupd):
        raise SettingsError("no nsqd to collect from: give --nsqd HOST:4150 or --lookupd HOST:4161")

    async def run(store: Store) -> CollectionReport:
        stop = stop_event(on_second_signal)
        collector = Collector(settings, store, topics=topics, log=logs.get_logger())
        collector.start()
        try:
            await unless(stop, collector.wait_idle() if exit_when_idle else collector.wait_failed())
        finally:
            await collector.stop()
        return CollectionReport(collector.stored, collector.known, collector.missing)

    with Store(Path(settings.dead_store), make=True) as store:
        return asyncio.run(run(store))
