"""Faults: what goes wrong from outside, and after how many confirmed orders."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from tests.chaos.cluster import Cluster, Node
from tests.chaos.outage import Outages
from tests.chaos.workers import Workers
from tests.waiting import until

KILL = "kill"
DEPLOY = "deploy"
NSQD_RESTART = "nsqd-restart"
CUT = "cut"
STALL = "stall"
OUTAGE = "outage"

STALL_S = 3.0

Until = Callable[[int], Awaitable[None]]
"""Waits until so many orders are confirmed."""


class Faults:
    """Carries out the faults of one phase, spread evenly over its orders.

    Those of one sort come one after the other, those of different sorts also at the same time.

    Args:
        plan: How many of each sort.
        orders: How many orders the phase publishes.
        draws: Choose what is hit.
        outages: Carries out those of the dependency.
    """

    def __init__(self, plan: Mapping[str, int], orders: int, draws: random.Random, outages: Outages) -> None:
        self._plan = plan
        self._orders = orders
        self._draws = draws
        self._outages = outages
        self.done: Counter[str] = Counter()

    @property
    def are_done(self) -> bool:
        """Whether all of the plan was carried out."""
        return all(self.done[sort] >= count for sort, count in self._plan.items())

    async def run(self, cluster: Cluster, workers: Workers, confirmed: Until) -> None:
        """Carry out all of them."""
        actions: Mapping[str, Callable[[], Awaitable[None]]] = {
            KILL: workers.kill_one,
            DEPLOY: workers.deploy_one,
            NSQD_RESTART: lambda: self._node(cluster).restart(),
            CUT: lambda: self._cut(cluster),
            STALL: lambda: self._node(cluster).stall(STALL_S),
            OUTAGE: self._outages.carry_out,
        }
        async with asyncio.TaskGroup() as group:
            for sort, count in self._plan.items():
                group.create_task(self._carry_out(sort, count, actions[sort], confirmed))

    async def _carry_out(
        self, sort: str, count: int, action: Callable[[], Awaitable[None]], confirmed: Until
    ) -> None:
        for number in range(1, count + 1):
            await confirmed(self._orders * number // (count + 1))
            await action()
            self.done[sort] += 1

    def _node(self, cluster: Cluster) -> Node:
        return self._draws.choice(cluster.nodes)

    async def _cut(self, cluster: Cluster) -> None:
        """Cut one connection; there always is one, but for a moment while workers start."""
        await until(lambda: self._node(cluster).proxy.cut_one(self._draws))
