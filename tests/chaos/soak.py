"""Soak: random faults come and go around the same workers for a long time; then all must be as before."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from pathlib import Path

from tests.chaos import orders as kinds
from tests.chaos.about import About
from tests.chaos.bursts import Bursts
from tests.chaos.checkup import Record, check_up
from tests.chaos.cluster import Cluster
from tests.chaos.garbage import GarbageLookupd
from tests.chaos.ledger import CONFIRMED, DEAD, Ledger
from tests.chaos.letters import Letters
from tests.chaos.orders import Orders
from tests.chaos.phases import HANDLERS
from tests.chaos.programs import Programs
from tests.chaos.publishing import Feed
from tests.chaos.troubles import Troubles
from tests.chaos.vitals import Vitals, watch
from tests.chaos.workers import Workers

NAME = "soak"
_WILD = ("Wild", "Fleeting", "PatientGuarded", "PatientPausing")
_TARGETS = (*HANDLERS, *(f"tests.chaos.wild:{name}" for name in _WILD))
_TOPICS = (kinds.ORDERS, kinds.MAILS, kinds.WILD, kinds.BREAKERS, kinds.PAUSES)
_WEIGHTS = {
    kinds.QUICK: 80,
    kinds.PLAIN: 10,
    kinds.GUARDED: 4,
    kinds.PAUSING: 4,
    kinds.FLAKY: 1,
    kinds.SLOW: 0.5,
    kinds.HOPELESS: 0.5,
}
_RATE_PER_S = 60.0
_LEASE_S = 5.0
_MAX_LEASE_S = 900
_NSQD = 2
_WORKERS = 2
_PATIENCE_S = 180.0
"""How long the rest may take when all faults are over."""


async def soak(folder: Path, minutes: float, seed: int) -> None:
    """Run it, and leave its ledgers and records in a folder of its own.

    Args:
        folder: Where to; empty.
        minutes: For which faults begin.
        seed: Of all draws.

    Raises:
        ChaosFailedError: If a server does not do what it should.
    """
    run = _Soak(folder, minutes, seed)
    try:
        await run.start()
        await run.play()
        await run.finish()
    finally:
        await run.close()


class _Soak:
    """One run, from its cluster's start to its ledgers."""

    def __init__(self, folder: Path, minutes: float, seed: int) -> None:
        draws = random.Random(seed)
        self._started_s = time.monotonic()
        self._folder = folder
        self._minutes = minutes
        self._seed = seed
        self._programs = Programs(folder)
        self._cluster = Cluster(self._programs, folder, _NSQD, _MAX_LEASE_S)
        self._garbage = GarbageLookupd([node.address for node in self._cluster.nodes])
        self._workers = Workers(
            self._programs,
            folder,
            _TARGETS,
            self._cluster.lookupd,
            lease_s=_LEASE_S,
            draws=draws,
            more_lookupd=[self._garbage.address],
            is_piped=True,
        )
        self._letters = Letters(self._programs, folder)
        orders = Orders(_WEIGHTS, seed, only_valid=True)
        self._ledger = Ledger(folder / CONFIRMED)
        self._is_over = False
        self._feed = Feed(
            orders, self._ledger, count=1, rate_per_s=_RATE_PER_S, goes_on=lambda: not self._is_over
        )
        self._troubles = Troubles(
            folder,
            cluster=self._cluster,
            workers=self._workers,
            garbage=self._garbage,
            bursts=Bursts(orders, self._ledger),
            letters=self._letters,
            draws=draws,
        )
        self._samples: list[list[Vitals]] = []

    async def start(self) -> None:
        """Start everything; the workers are subscribed."""
        await self._garbage.start()
        await self._cluster.start(_TOPICS)
        await self._workers.start(_WORKERS)

    async def play(self) -> None:
        """Publish while faults come and go, and wait until everything is handled."""
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(self._watch(each.program.pid)) for each in self._workers.live]
            feeding = group.create_task(self._feed.run(self._cluster.nodes))
            await self._troubles.run(self._minutes * 60)
            self._is_over = True
            await feeding
            with contextlib.suppress(TimeoutError):  # the audit finds what is left
                async with asyncio.timeout(_PATIENCE_S):
                    await self._cluster.wait_empty()
            await self._cluster.wait_registered()
            for task in watching:
                task.cancel()

    async def finish(self) -> None:
        """Look at the workers, stop them, collect the dead letters, and save what was found."""
        watched = zip(self._workers.live, self._samples, strict=True)
        records = [await check_up(worker, samples) for worker, samples in watched]
        left, counts = await self._cluster.left(), await self._cluster.counts()
        miscounts = await self._workers.miscounts()
        await self._workers.stop()
        await self._letters.collect("--lookupd", self._cluster.lookupd)
        uncollected = {node.name: await node.dead() for node in self._cluster.nodes}
        with contextlib.closing(Ledger(self._folder / DEAD)) as dead:
            self._letters.write(dead)
        found = self._troubles
        Record(self._minutes, self._seed, found.done, found.findings, uncollected, records).save(self._folder)
        About(
            name=NAME,
            faults=dict(Counter(each.sort for each in found.done)),
            planned=dict.fromkeys(found.sorts, 1),
            unconfirmed=self._feed.unconfirmed,
            left=left,
            timeouts=counts["timeout_count"],
            exit_codes=self._workers.exit_codes,
            crashes=0,
            unexpected=(),
            miscounts=tuple(miscounts),
            may_leave=False,
            is_clean=False,
            max_held=0,
            max_running={},
            seconds=round(time.monotonic() - self._started_s, 1),
        ).save(self._folder)

    async def close(self) -> None:
        """End everything."""
        await self._programs.end()
        await self._cluster.close()
        self._garbage.close()
        self._ledger.close()

    async def _watch(self, pid: int) -> None:
        samples: list[Vitals] = []
        self._samples.append(samples)
        await watch(pid, samples)
