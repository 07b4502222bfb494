"""Troubles: the faults of the soak, drawn with a seed, two at a time; each ends after some seconds."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.http import NsqdHttp
from tests.chaos import orders as kinds
from tests.chaos.bursts import Bursts
from tests.chaos.cluster import Cluster, Node
from tests.chaos.dependency import AWAY, Dependency
from tests.chaos.fleeting import delete_and_publish
from tests.chaos.garbage import GarbageLookupd
from tests.chaos.intruders import abuse_admin_port, consume_slowly
from tests.chaos.letters import Letters
from tests.chaos.orders import CHANNEL, ORDERS
from tests.chaos.workers import Worker, Workers
from tests.waiting import until

LANES = 2
_LENGTH_S = 2.0, 8.0
_REST_S = 0.2, 1.5
_STALL_S = 1.0, 4.0
_SILENCE_S = 6.0, 14.0
_QUIET_LOOKS = 20  # /stats is not atomic

BURSTS: Mapping[str, Mapping[str, int]] = {
    "refused for size": {kinds.OVERSIZED: 3},
    "loop blocked": {kinds.BLOCKING: 2},
    "threads hang": {kinds.BLOCKED: 6},
    "BaseExceptions": {kinds.FATAL: 6},
    "bad bodies": {kinds.GARBLED: 5, kinds.SURROGATE: 5},
}
"""The faults that orders of certain kinds bring."""


class Trouble(NamedTuple):
    """One fault that was carried out: its sort, and when it began and ended, seconds since the start."""

    sort: str
    began_s: float
    ended_s: float


class Troubles:
    """Carries out faults until it is told to stop.

    Args:
        folder: Of the phase.
        cluster: Is hit.
        workers: Are hit, but never ended.
        garbage: One of the nsqlookupd of the workers.
        bursts: Publishes single orders.
        letters: Collects dead letters before a disk is emptied.
        draws: Choose what is hit, and for how long.
    """

    def __init__(
        self,
        folder: Path,
        *,
        cluster: Cluster,
        workers: Workers,
        garbage: GarbageLookupd,
        bursts: Bursts,
        letters: Letters,
        draws: random.Random,
    ) -> None:
        self._cluster = cluster
        self._workers = workers
        self._garbage = garbage
        self._bursts = bursts
        self._letters = letters
        self._draws = draws
        self._dependency = Dependency(folder / AWAY)
        self._one_outage = asyncio.Lock()
        self._one_of_connections = asyncio.Lock()
        self._one_of_lookupd = asyncio.Lock()  # workers keep what they know while one nsqlookupd is broken
        self._started_s = time.monotonic()
        self.done: list[Trouble] = []
        self.findings: list[str] = []
        self._actions: dict[str, Callable[[], Awaitable[None]]] = {
            "nsqd restart": lambda: self._node().restart(),
            "nsqd on an empty disk": self._empty,
            "nsqd stalls": lambda: self._node().stall(self._draws.uniform(*_STALL_S)),
            "cut after SUB": self._cut_subscribers,
            "connections fall silent": self._silence,
            "nsqlookupd restart": self._restart_lookupd,
            "nsqlookupd answers garbage": self._garble,
            "admin port abused": lambda: abuse_admin_port(self._worker().admin_address, self._length_s()),
            "dependency away": self._outage,
            "topic deleted": self._delete,
            "channel paused": self._pause,
            "log not read": self._leave_unread,
            "slow consumer": lambda: consume_slowly(self._node().direct_address, ORDERS, self._length_s()),
        }
        self._actions |= {sort: partial(self._burst, orders) for sort, orders in BURSTS.items()}

    @property
    def sorts(self) -> tuple[str, ...]:
        """All that it may carry out."""
        return tuple(self._actions)

    async def run(self, for_s: float) -> None:
        """Carry out two at a time, and return when all are over.

        Args:
            for_s: Seconds after which none begins.
        """
        sorts = drawn(self.sorts, self._draws)
        end_s = time.monotonic() + for_s
        async with asyncio.TaskGroup() as group:
            for _ in range(LANES):
                group.create_task(self._lane(sorts, end_s))

    async def _lane(self, sorts: Iterator[str], end_s: float) -> None:
        while time.monotonic() < end_s:
            sort = next(sorts)
            began_s = self._now_s()
            with contextlib.suppress(AssertionError):  # it did not come about in time
                await self._actions[sort]()
                self.done.append(Trouble(sort, began_s, self._now_s()))
            await asyncio.sleep(self._draws.uniform(*_REST_S))  # between two faults

    def _now_s(self) -> float:
        return round(time.monotonic() - self._started_s, 1)

    def _length_s(self) -> float:
        return self._draws.uniform(*_LENGTH_S)

    def _node(self) -> Node:
        return self._draws.choice(self._cluster.nodes)

    def _worker(self) -> Worker:
        return self._draws.choice(self._workers.live)

    async def _empty(self) -> None:
        """Empty the disk of an nsqd once nothing is on it."""
        node = self._node()
        async with node.publishing:
            await node.empty(lambda: self._emptied(node))

    async def _emptied(self, node: Node) -> None:
        looks = 0

        async def is_quiet() -> bool:
            nonlocal looks
            looks = 0 if await node.left() else looks + 1
            return looks >= _QUIET_LOOKS

        await until(is_quiet)
        await self._letters.collect("--nsqd", node.direct_address, "--nsqd-http", node.http_address)

    async def _cut_subscribers(self) -> None:
        node = self._node()
        async with self._one_of_connections:
            node.proxy.cuts_subscribers = True
            node.proxy.cut_one(self._draws)
            await asyncio.sleep(self._length_s())  # the length is the fault
            node.proxy.cuts_subscribers = False

    async def _silence(self) -> None:
        async with self._one_of_connections:
            end = asyncio.Event()
            asyncio.get_running_loop().call_later(self._draws.uniform(*_SILENCE_S), end.set)
            await self._node().proxy.silence(end)

    async def _restart_lookupd(self) -> None:
        async with self._one_of_lookupd:
            await self._cluster.restart_lookupd()

    async def _garble(self) -> None:
        async with self._one_of_lookupd:
            self._garbage.is_garbled = True
            await asyncio.sleep(self._length_s())  # the length is the fault
            self._garbage.is_garbled = False

    async def _burst(self, orders: Mapping[str, int]) -> None:
        await self._bursts.publish(self._node(), orders)

    async def _outage(self) -> None:
        async with self._one_outage:
            self._dependency.go_away()
            await asyncio.sleep(self._length_s())  # the length is the fault
            self._dependency.come_back()

    async def _delete(self) -> None:
        async with self._one_of_lookupd, self._one_of_connections:
            workers = len(self._workers.live)
            self.findings += await delete_and_publish(self._cluster, self._bursts, workers)

    async def _pause(self) -> None:
        http = NsqdHttp(self._node().http_address)
        if await _answered(lambda: http.pause_channel(ORDERS, CHANNEL)):
            await asyncio.sleep(self._length_s())  # the length is the fault
            await until(lambda: _answered(lambda: http.unpause_channel(ORDERS, CHANNEL)))

    async def _leave_unread(self) -> None:
        output = self._worker().output
        if output is not None:
            output.is_read.clear()
            await asyncio.sleep(self._length_s())  # the length is the fault
            output.is_read.set()


def drawn(sorts: Sequence[str], draws: random.Random) -> Iterator[str]:
    """Yield each sort once, in an order that is drawn, and so on again and again."""
    while True:
        yield from draws.sample(sorts, len(sorts))


async def _answered(ask: Callable[[], Awaitable[object]]) -> bool:
    """Return whether nsqd did as asked, not while it restarts; what is gone cannot be paused."""
    try:
        await ask()
    except RefusedError:
        return True
    except ConnectionLostError:
        return False
    return True
