"""Dev collector: collects the dead letters of the embedded broker while `nsqkit run --dev` runs."""

import asyncio
from pathlib import Path
from typing import Any

from nsqkit.background import Background
from nsqkit.dead_letters.collector import Collector
from nsqkit.dead_letters.store import Store
from nsqkit.errors import NsqkitError
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs

_LOOK_S = 1.0
_END_S = 10.0


class DevCollector:
    """Collects dead letters next to the handlers of the run. Its failures are logged and never end the run.

    It leaves a ``.dead`` topic alone that another consumer reads, such as a handler of the run.

    Args:
        settings: The embedded broker's address and the path of the store.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = logs.get_logger(store=settings.dead_store)
        self._store: Store | None = None
        self._collector: Collector | None = None
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start collecting, and return at once."""
        try:
            self._store = Store(Path(self._settings.dead_store), make=True)
        except NsqkitError as error:
            self._log.warning("dead_letters_not_collected", error=str(error), setting="dead_store")
            return
        quiet = _Quiet(self._log)
        self._collector = Collector(self._settings, self._store, log=quiet, look_s=_LOOK_S, yields=True)
        self._collector.start()
        watch = self._report_failure(self._collector)
        self._watch = Background(self._log).start(watch, "collector of dead letters")

    async def stop(self) -> None:
        """Collect the dead letters that are left, and close the store."""
        if self._store is None or self._collector is None or self._watch is None:
            return
        self._watch.cancel()
        try:
            await self._finish(self._collector)
        except (NsqkitError, TimeoutError) as error:
            why = str(error) or f"some are left after {_END_S:g} s"
            self._log.warning("dead_letters_not_collected", error=why)
        finally:
            self._store.close()
        if self._collector.stored:
            self._log.info("dead_letters_collected", stored=self._collector.stored, look="nsqkit dead ls")

    async def _report_failure(self, collector: Collector) -> None:
        """Log at once that the collector has failed; the run goes on."""
        try:
            await collector.wait_failed()
        except NsqkitError as error:
            self._log.warning("dead_letters_not_collected", error=str(error))

    async def _finish(self, collector: Collector) -> None:
        try:
            async with asyncio.timeout(_END_S):
                await collector.wait_idle()
        finally:
            await collector.stop()


class _Quiet:
    """A logger without the info lines, which say nothing new about an embedded broker."""

    def __init__(self, log: Any) -> None:
        self.warning = log.warning
        self.error = log.error

    def info(self, event: str, /, **fields: object) -> None:
        """Drop the line."""
