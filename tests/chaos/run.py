"""Run: one phase from its cluster's start to its ledgers. What they say is the audit's business."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from tests.chaos.about import About
from tests.chaos.cluster import Cluster
from tests.chaos.dead import collect
from tests.chaos.faults import Faults
from tests.chaos.held import write_held
from tests.chaos.ledger import CONFIRMED, DEAD, Ledger
from tests.chaos.orders import BLOCKED, Orders
from tests.chaos.outage import Outages
from tests.chaos.phases import Phase
from tests.chaos.programs import Programs
from tests.chaos.publishing import Feed
from tests.chaos.workers import Workers

Watch = Callable[[Workers], Coroutine[Any, Any, None]]


async def look_away(_workers: Workers) -> None:
    """Watch nothing."""


async def run_phase(phase: Phase, folder: Path, time_limit_s: float, watch: Watch = look_away) -> About:
    """Run one phase, and leave its ledgers in a folder of its own.

    Args:
        phase: What to do.
        folder: Where to; empty.
        time_limit_s: Until it is given up, its end (at most some 100 s) not counted.
        watch: Runs beside it once the workers are subscribed, and is cancelled at the end.

    Raises:
        ChaosFailedError: If a server does not do what it should.
    """
    started_s = time.monotonic()
    programs = Programs(folder)
    cluster = Cluster(programs, folder, phase.nsqd, phase.max_lease_s)
    draws = random.Random(phase.seed)
    workers = Workers(
        programs,
        folder,
        phase.targets,
        cluster.lookupd,
        lease_s=phase.lease_s,
        draws=draws,
        may_crash=phase.may_crash,
    )
    if phase.max_held:
        watch = partial(write_held, folder=folder)
    outages = Outages(folder, phase.outage_s)
    faults = Faults(phase.faults, phase.orders, draws, outages)
    with contextlib.closing(outages), contextlib.closing(Ledger(folder / CONFIRMED)) as ledger:
        feed = Feed(
            Orders(phase.weights, phase.seed, special=phase.special, only_valid=phase.only_valid),
            ledger,
            count=phase.orders,
            rate_per_s=phase.rate_per_s,
            goes_on=lambda: not faults.are_done,
            has_room=lambda: feed.confirmed - workers.succeeded < phase.max_ahead,
        )
        try:
            await cluster.start(phase.topics)
            with contextlib.suppress(TimeoutError):  # the audit finds what is not done
                async with asyncio.timeout(time_limit_s):
                    await _play(phase, cluster, workers, feed, faults, watch=watch)
            left, counts = await cluster.left(), await cluster.counts()
            miscounts = await workers.miscounts()
            await workers.stop()
            with contextlib.closing(Ledger(folder / DEAD)) as dead:
                for node in cluster.nodes:
                    await collect(node, dead)
        finally:
            await programs.end()
            await cluster.close()
    about = About(
        name=phase.name,
        faults=dict(faults.done),
        planned=dict(phase.faults),
        unconfirmed=feed.unconfirmed,
        left=left,
        timeouts=counts["timeout_count"],
        exit_codes=workers.exit_codes,
        crashes=len(workers.crashes),
        unexpected=tuple(workers.unexpected),
        miscounts=tuple(miscounts),
        may_leave=BLOCKED in phase.weights,
        is_clean=phase.is_clean,
        max_held=phase.max_held,
        max_running=phase.max_running,
        seconds=round(time.monotonic() - started_s, 1),
    )
    about.save(folder)
    return about


async def _play(
    phase: Phase, cluster: Cluster, workers: Workers, feed: Feed, faults: Faults, *, watch: Watch
) -> None:
    """Publish and carry out the faults, and wait until nothing is left to do."""
    async with asyncio.TaskGroup() as group:
        looking_after = group.create_task(workers.watch())
        await workers.start(phase.workers)
        watching = group.create_task(watch(workers))
        async with asyncio.TaskGroup() as both:
            both.create_task(feed.run(cluster.nodes))
            both.create_task(faults.run(cluster, workers, feed.until))
        await cluster.wait_empty()
        watching.cancel()
        looking_after.cancel()
