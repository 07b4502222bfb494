"""Workers: `nsqkit run` as processes, which are killed, replaced and looked after."""

import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from nsqkit.nsq.http import fetch
from tests.chaos.accounts import miscounts
from tests.chaos.dependency import AWAY
from tests.chaos.ledger import Reader
from tests.chaos.output import Output
from tests.chaos.programs import Program, Programs
from tests.ports import free_port
from tests.waiting import PATIENCE_S, until

GRACE_S = 0.5
"""What a worker that is told to stop gives its handlers."""
_ENDS = frozenset({"succeeded", "cancelled", "failed"})


class Worker:
    """One process, and what it holds by its ledger.

    Args:
        program: The process.
        ledger: What it writes.
        admin_address: ``host:port`` of its metrics.
        output: Reads the pipe of its log; None if that is a file.
    """

    def __init__(
        self, program: Program, ledger: Path, admin_address: str, output: Output | None = None
    ) -> None:
        self.program = program
        self.output = output
        self.admin_address = admin_address
        self._reader = Reader(ledger)
        self._running = 0
        self.succeeded = 0

    @property
    def is_started(self) -> bool:
        """Whether it said that all its handlers are subscribed, or has ended."""
        return self.program.code is not None or b"worker_ready" in self.program.log.read_bytes()

    def look(self) -> int:
        """Read on in its ledger, and return how many orders its handlers have in hand."""
        for what, *_ in self._reader.lines():
            self._running += (what == "started") - (what in _ENDS)
            self.succeeded += what == "succeeded"
        return self._running


class Workers:
    """All workers of one phase.

    Args:
        programs: Of the phase.
        folder: For their ledgers.
        targets: What they run.
        lookupd: ``host:port`` of nsqlookupd's HTTP port.
        lease_s: The message timeout that they ask for.
        draws: Choose who is hit.
        may_crash: Whether one that ends by itself is expected, and started again.
        more_lookupd: ``host:port`` of the HTTP ports of further nsqlookupd.
        is_piped: Whether each writes its log into a pipe, which need not always be read.
    """

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        targets: Sequence[str],
        lookupd: str,
        *,
        lease_s: float,
        draws: random.Random,
        may_crash: bool = False,
        more_lookupd: Sequence[str] = (),
        is_piped: bool = False,
    ) -> None:
        self._programs = programs
        self._folder = folder
        self._targets = targets
        self._lookupd = (lookupd, *more_lookupd)
        self._is_piped = is_piped
        self._lease_s = lease_s
        self._draws = draws
        self._may_crash = may_crash
        self._live: list[Worker] = []
        self._all: list[Worker] = []
        self._started = 0
        self.crashes: list[str] = []
        self.exit_codes: dict[str, int | None] = {}

    async def start(self, count: int) -> None:
        """Start some, and return when they are subscribed."""
        for _ in range(count):
            self._start()
        await self._all_started()

    async def kill_one(self) -> None:
        """Kill one in the middle of its work, and start another in its place."""
        worker = await self._one_at_work()
        worker.program.signal(signal.SIGKILL)
        await worker.program.wait()
        self._start()

    async def deploy_one(self) -> None:
        """Start a new one, and when it is subscribed tell an old one at work to stop."""
        new = self._start()
        await until(lambda: new.is_started)
        (old,) = self._taken(self._draws.choice([each for each in self._live if each is not new]))
        await until(lambda: old.look() > 0)
        old.program.signal(signal.SIGTERM)
        await self._ended(old)

    async def stop(self) -> None:
        """Tell all of them to stop, and wait until they have."""
        stopped = self._taken(*self._live)
        for worker in stopped:
            worker.program.signal(signal.SIGTERM)
        await asyncio.gather(*map(self._ended, stopped))

    async def miscounts(self) -> list[str]:
        """Return where the counts of those that run do not add up, a line each."""
        await self._all_started()  # a replacement may have come a moment ago, and serves no metrics yet
        found = [
            (each, await fetch(each.admin_address, "/metrics", timeout_s=PATIENCE_S))
            for each in self._live
            if each.program.code is None
        ]
        return [
            f"{worker.program.name}: {line}"
            for worker, answer in found
            for line in miscounts(answer.decode())
        ]

    async def watch(self) -> None:
        """Notice those that end by themselves; where that is expected, start others in their places."""
        while True:
            await until(lambda: any(each.program.code is not None for each in self._live), timeout_s=None)
            for worker in [each for each in self._live if each.program.code is not None]:
                self._taken(worker)
                self.crashes.append(f"{worker.program.name} ended with {worker.program.code}")
                self._start()

    @property
    def live(self) -> tuple[Worker, ...]:
        """Those that are looked after."""
        return tuple(self._live)

    @property
    def first_pid(self) -> int:
        """The process id of the first one."""
        return self._all[0].program.pid

    @property
    def succeeded(self) -> int:
        """How many orders were handled with success by now, duplicates counted."""
        for worker in self._all:
            worker.look()
        return sum(worker.succeeded for worker in self._all)

    @property
    def unexpected(self) -> list[str]:
        """Those that ended by themselves and should not have."""
        return [] if self._may_crash else self.crashes

    @property
    def addresses(self) -> dict[str, str]:
        """``host:port`` of the admin server of each that runs, by name."""
        return {each.program.name: each.admin_address for each in self._live if each.program.code is None}

    async def _ended(self, worker: Worker) -> None:
        self.exit_codes[worker.program.name] = await worker.program.wait()

    async def _all_started(self) -> None:
        await until(lambda: all(worker.is_started for worker in self._live))

    def _start(self) -> Worker:
        self._started += 1
        name = f"worker-{self._started}"
        ledger = self._folder / f"{name}.ledger"
        admin_port = free_port()
        settings = {
            "msg_timeout_s": self._lease_s,
            "grace_s": GRACE_S,
            "heartbeat_s": 5,
            "lookupd_poll_s": 1,
        }
        command = (
            *(sys.executable, "-m", "nsqkit", "run", *self._targets),
            *(part for each in self._lookupd for part in ("--lookupd", each)),
            *("--admin-port", str(admin_port), "--log-format", "json"),
            *("--app", f"ledger={ledger}", "--app", f"dependency={self._folder / AWAY}"),
            *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
        )
        output = Output() if self._is_piped else None
        program = self._programs.start(name, command, output)
        worker = Worker(program, ledger, f"127.0.0.1:{admin_port}", output)
        self._live.append(worker)
        self._all.append(worker)
        return worker

    async def _one_at_work(self) -> Worker:
        """Return one that has orders in hand; any, if nobody has for long."""
        with contextlib.suppress(AssertionError):
            await until(lambda: any(worker.look() for worker in self._live))
        busy = [worker for worker in self._live if worker.look()]
        return self._taken(self._draws.choice(busy or self._live))[0]

    def _taken(self, *workers: Worker) -> list[Worker]:
        """Return workers that are no longer looked after."""
        for worker in workers:
            self._live.remove(worker)
        return list(workers)
