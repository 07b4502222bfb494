"""Programs: the processes of one phase, and when a server among them answers."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nsqkit.errors import ConnectionLostError
from nsqkit.nsq.http import fetch
from tests.chaos.errors import ChaosFailedError
from tests.chaos.ledger import PROCESSES, Ledger
from tests.chaos.orders import ROOT
from tests.chaos.output import Output
from tests.waiting import PATIENCE_S, until


class Programs:
    """The processes of one phase; all of them are ended with it.

    Args:
        folder: Where their output and a list of their process ids go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all: list[Program] = []
        self._ledger = Ledger(folder / PROCESSES)

    def start(self, name: str, command: Sequence[str], output: Output | None = None) -> "Program":
        """Start one, whose output goes into a file, or where *output* says."""
        program = Program(name, command, self._folder / f"{name}.log", output)
        self._all.append(program)
        self._ledger.write(f"{program.pid} {name}")
        return program

    async def end(self) -> None:
        """End those that still run: SIGTERM, and SIGKILL if that takes too long."""
        running = [each for each in self._all if each.code is None]
        for program in running:
            program.signal(signal.SIGCONT)
            program.signal(signal.SIGTERM)
        try:
            await asyncio.gather(*(program.wait() for program in running))
        finally:
            for program in running:
                program.kill()
            self._ledger.close()


class Program:
    """One process, in a session of its own: a Ctrl-C is for the tool alone.

    Args:
        name: What to call it.
        command: What it runs.
        log: Where its output goes.
        output: Takes its output there over a pipe; None for none.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, output: Output | None = None) -> None:
        self.name = name
        self.log = log
        own = {key: value for key, value in os.environ.items() if not key.startswith("NSQKIT_")}
        own["NSQKIT_EVENT_LOOP"] = "asyncio"  # what everybody has
        with contextlib.closing(output.writer(log)) if output else log.open("ab") as target:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=own,
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=target,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, if it still runs."""
        self._process.kill()
        self._process.wait()

    async def wait(self, timeout_s: float = PATIENCE_S) -> int | None:
        """Return the exit code; None if it does not end in time."""
        with contextlib.suppress(AssertionError):
            await until(lambda: self.code is not None, timeout_s=timeout_s)
        return self.code


async def answering(program: Program, http_address: str) -> None:
    """Return when a server answers.

    Raises:
        ChaosFailedError: If it ends, or does not answer in time.
    """

    async def answers() -> bool:
        assert program.code is None, "it has ended"
        with contextlib.suppress(ConnectionLostError):
            await fetch(http_address, "/ping")
            return True
        return False

    try:
        await until(answers)
    except AssertionError as error:
        end = program.log.read_text()[-1000:]
        raise ChaosFailedError(f"{program.name} did not start: {error}\n{end}") from None


def nsq_program(name: str) -> Path:
    """Return the path of nsqd or nsqlookupd.

    Raises:
        ChaosFailedError: If it is not there.
    """
    path = Path(os.environ.get("NSQKIT_NSQD_BIN") or ROOT / ".nsqd" / "bin") / name
    if not os.access(path, os.X_OK):
        raise ChaosFailedError(f"no {path}: run scripts/install-nsqd (needs Go)")
    return path
