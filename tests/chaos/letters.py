"""Letters: the dead letters of the soak, collected with `nsqkit dead collect` and read from its store."""

import asyncio
import contextlib
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.errors import ChaosFailedError
from tests.chaos.ledger import Ledger
from tests.chaos.programs import Programs
from tests.waiting import PATIENCE_S

_ORDER = re.compile(rb"\d{7,}-[a-z]+")


class Letters:
    """The store of one run.

    Args:
        programs: Of the phase.
        folder: Where the store goes.
    """

    def __init__(self, programs: Programs, folder: Path) -> None:
        self._programs = programs
        self._store = folder / "dead.sqlite"
        self._one = asyncio.Lock()
        self._number = 0

    async def collect(self, *options: str) -> None:
        """Collect until none is left.

        Args:
            options: Where from.

        Raises:
            ChaosFailedError: If that fails.
        """
        async with self._one:
            self._number += 1
            command = (
                *(sys.executable, "-m", "nsqkit", "dead", "collect", "--exit-when-idle"),
                *("--store", str(self._store), *options),
            )
            program = self._programs.start(f"collect-{self._number}", command)
            if (code := await program.wait(2 * PATIENCE_S)) != 0:
                program.kill()
                raise ChaosFailedError(f"{program.name} ended with {code}: {program.log.read_text()[-1000:]}")

    def write(self, ledger: Ledger) -> None:
        """Write ``ORDER REASON`` of every dead letter."""
        ledger.write(*read(self._store))


def read(path: Path) -> Iterator[str]:
    """Yield ``ORDER REASON`` of every dead letter in a store."""
    with contextlib.closing(sqlite3.connect(path)) as store:
        for body, reason in store.execute("SELECT body, reason FROM letters ORDER BY id"):
            found = _ORDER.search(body)
            yield f"{found.group().decode() if found else 'unknown-order'} {reason}"
