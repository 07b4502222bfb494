"""Replacement: puts new child workers in place of the present ones, one at a time, each ready first."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from nsqkit.process.memory import check_memory_is_known, resident_bytes
from nsqkit.process.slot import Slot
from nsqkit.program import is_set_within

MEMORY_LOOK_S: Final = 2.0
RETRY_S: Final = 60.0
"""Seconds until a child with too much memory is replaced again after its replacement failed."""
_MB: Final = 1_000_000


class Replacement:
    """Replaces all children on request, and each one that has too much memory.

    Args:
        slots: The places of the children.
        max_memory_mb: Resident memory in MB above which a child is replaced; 0 for no limit.
        log: structlog logger.
    """

    def __init__(self, slots: Sequence[Slot], max_memory_mb: int, log: Any) -> None:
        self._slots = slots
        self._max_memory_mb = max_memory_mb
        self._log = log
        self._requested = asyncio.Event()

    def check(self) -> None:
        """Refuse a limit that cannot be kept.

        Raises:
            SettingsError: If there is a limit, but no ``/proc``.
        """
        check_memory_is_known(self._max_memory_mb)

    def request(self) -> None:
        """Replace all children; if that is going on, give up a new one that is not ready, and begin again."""
        self._requested.set()

    async def run(self) -> None:
        """Replace children until cancelled."""
        wait_s = MEMORY_LOOK_S
        while True:
            if await is_set_within(self._requested, wait_s):
                self._requested.clear()
                await self._replace_all()
                continue
            wait_s = MEMORY_LOOK_S if await self._replace_large() else RETRY_S

    async def _replace_all(self) -> None:
        self._log.info("workers_replacing", workers=len(self._slots))
        for slot in self._slots:
            if not await slot.replace(
                self._requested
            ):  # the code is broken: the others would end in the same way
                return
        self._log.info("workers_replaced", workers=len(self._slots))

    async def _replace_large(self) -> bool:
        """Replace the children with too much memory, and return whether each new one was ready."""
        if not self._max_memory_mb:
            return True
        for slot in self._slots:
            if slot.child is None:
                continue
            resident_mb = resident_bytes(slot.child.pid) // _MB
            if resident_mb > self._max_memory_mb:
                self._log.warning(
                    "worker_memory_high",
                    worker=slot.number,
                    resident_mb=resident_mb,
                    max_worker_memory_mb=self._max_memory_mb,
                )
                if not await slot.replace(self._requested):
                    return False
        return True
