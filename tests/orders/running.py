"""Running: the whole system as a person starts it, on free ports, with its spans sent to a receiver."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.waiting import PATIENCE_S, until_blocking

ROOT: Final = Path(__file__).parents[2]


class System:
    """The running program.

    Args:
        folder: Its working directory, and the folder of its data.
        variables: What its environment has in addition.
        options: What its command line has in addition.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str], *options: str) -> None:
        self.data = folder / ".orders"
        self._out = folder / "out"
        command = [sys.executable, "-m", "examples.orders.system", "--free-ports", *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT
            )

    @property
    def out(self) -> str:
        """Everything that it has printed."""
        return self._out.read_text()

    @property
    def gateway(self) -> str:
        """Address of the payment gateway."""
        return self.address("payment gateway").removesuffix("/docs")

    def address(self, name: str) -> str:
        """Return one of the addresses that it has printed."""
        found = re.search(rf"^{name} +(\S+)$", self.out, re.MULTILINE)
        assert found, self.out
        return found[1]

    def wait_ready(self) -> None:
        """Wait until it says that it is ready."""
        until_blocking(lambda: "ready; Ctrl-C stops all" in self.out or self.process.poll() is not None)
        assert self.process.poll() is None, self.out

    def end(self) -> None:
        """End it as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE_S)

    def rows(self, name: str, query: str, *values: str) -> list[tuple[object, ...]]:
        """Return what a query of a service's database finds."""
        connection = sqlite3.connect(self.data / f"{name}.sqlite")
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()
