"""Outages: the dependency goes away and comes back. What does not need it must go on meanwhile."""

import asyncio
import contextlib
import time
from pathlib import Path

from tests.chaos.dependency import AWAY, Dependency
from tests.chaos.ledger import CONFIRMED, OUTAGES, WORKERS, Ledger, Reader
from tests.chaos.orders import DEPENDENT, kind_of
from tests.waiting import until


class Outages:
    """The outages of one phase, and the ledger of them.

    Its lines are ``away SECONDS``, ``due ORDER`` for each order that does not need the dependency and should
    be handled before the end, and ``back SECONDS``.

    Args:
        folder: Of the phase.
        length_s: For how long, at least.
    """

    def __init__(self, folder: Path, length_s: float) -> None:
        self._folder = folder
        self._dependency = Dependency(folder / AWAY)
        self._length_s = length_s
        self._ledger = Ledger(folder / OUTAGES)

    async def carry_out(self) -> None:
        """Let the dependency go away, and come back once all that does not need it is handled."""
        self._ledger.write(f"away {time.monotonic():.3f}")
        self._dependency.go_away()
        await asyncio.sleep(self._length_s)  # the length is the fault
        confirmed = {order for (order,) in Reader(self._folder / CONFIRMED).lines()}
        due = {order for order in confirmed if kind_of(order) not in DEPENDENT}
        self._ledger.write(*(f"due {order}" for order in due))
        with contextlib.suppress(AssertionError):  # the audit finds what is not handled
            await self._handled(due)
        self._ledger.write(f"back {time.monotonic():.3f}")
        self._dependency.come_back()

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    async def _handled(self, due: set[str]) -> None:
        readers = [Reader(path) for path in self._folder.glob(WORKERS)]

        def are_handled() -> bool:
            for reader in readers:
                due.difference_update(order for what, order, *_ in reader.lines() if what == "succeeded")
            return not due

        await until(are_handled)
