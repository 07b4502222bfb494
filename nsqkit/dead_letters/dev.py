"""Dev: the dead letters of the embedded broker, collected for as long as it runs."""

import asyncio
from pathlib import Path
from typing import Any

from nsqkit.dead_letters.collect import Collector
from nsqkit.dead_letters.store import Store
from nsqkit.errors import NsqkitError
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs

_LOOK_S = 1.0
_END_S = 10.0


class DevCollection:
    """Collects beside a run of ``--dev``; what fails here is told, and never fails the run.

    A topic that somebody else reads, such as a handler of the run, is left to them.

    Args:
        settings: Name the embedded broker and the store.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = logs.get_logger(store=settings.dead_store)
        self._store: Store | None = None
        self._collector: Collector | None = None

    def start(self) -> None:
        """Begin, and return at once."""
        try:
            self._store = Store(Path(self._settings.dead_store), make=True)
        except NsqkitError as error:
            self._log.warning("dead_letters_not_collected", error=str(error), setting="dead_store")
            return
        quiet = _Quiet(self._log)
        self._collector = Collector(self._settings, self._store, log=quiet, look_s=_LOOK_S, yields=True)
        self._collector.start()

    async def stop(self) -> None:
        """Collect what is left, and end."""
        if self._store is None or self._collector is None:
            return
        try:
            await self._finish(self._collector)
        except (NsqkitError, TimeoutError) as error:
            why = str(error) or f"some are left after {_END_S:g} s"
            self._log.warning("dead_letters_not_collected", error=why)
        finally:
            self._store.close()
        if self._collector.stored:
            self._log.info("dead_letters_collected", stored=self._collector.stored, look="nsqkit dead ls")

    async def _finish(self, collector: Collector) -> None:
        try:
            async with asyncio.timeout(_END_S):
                await collector.wait_idle()
        finally:
            await collector.stop()


class _Quiet:
    """Leaves out what goes without saying on a broker of one's own."""

    def __init__(self, log: Any) -> None:
        self.warning = log.warning
        self.error = log.error

    def info(self, event: str, /, **fields: object) -> None:
        """Say nothing."""
