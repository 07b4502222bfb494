"""Run: places orders at the order system, kills every process in turn, and waits until its books agree."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from examples.orders import place
from examples.orders.inventory.shelves import BASKETS
from examples.orders.system import commands, prepare
from examples.orders.variables import read_variables
from nsqkit import Settings
from nsqkit.nsq.http import NsqdHttp
from tests.chaos.cluster import waiting
from tests.chaos.shop import counts, servers
from tests.chaos.shop.books import Books, Reader
from tests.chaos.shop.counts import Counts
from tests.chaos.shop.points import VARIABLE
from tests.chaos.shop.servers import Servers
from tests.chaos.shop.supervised import Supervised
from tests.waiting import until

KILLED: Final = tuple(name for name, _ in commands() if name != "broker")
"""The processes that are killed, in turn. nsqd keeps messages in memory, so kill -9 of it loses them."""
MONITORS: Final = ("ORDERS_ADMIN", "INVENTORY_ADMIN", "PAYMENTS_ADMIN", "NOTIFICATIONS_ADMIN")
"""Variables with the ports of the monitors."""
_LOOK_S = 0.2
_QUICK: Final = {
    "NSQKIT_MSG_TIMEOUT_S": "5",  # nsqd keeps the messages of a killed worker for so long
    "NSQKIT_OUTBOX_LEASE_S": "5",  # and relays leave its events alone for so long
}
# A slow machine must not look like a dead worker: each message and each event would count twice.
_SLOW: Final = {"NSQKIT_MSG_TIMEOUT_S": "600", "NSQKIT_OUTBOX_LEASE_S": "600"}


@dataclass(frozen=True)
class Plan:
    """What to do.

    Args:
        orders: Orders to place; 1 or more.
        rounds: How often each process is killed; 0 or more.
        rate: Orders per second; 0 for as many as possible.
        wait_s: Seconds until everything must have ended after the last order.
        has_points: Whether workers also die between a commit and the publish of its events.
        failure_ratio: Share of the gateway's calls that fail.
    """

    orders: int
    rounds: int
    rate: float
    wait_s: float
    has_points: bool
    failure_ratio: float = 0.2

    @property
    def kills(self) -> Sequence[str]:
        """The processes to kill, in order."""
        return KILLED * self.rounds

    @property
    def is_peaceful(self) -> bool:
        """Whether no process dies. Then the counts of the monitors and of nsqd are compared, too."""
        return not self.rounds and not self.has_points


@dataclass(frozen=True)
class Finding:
    """What a run has found.

    Args:
        plan: What was done.
        books: The books at the end.
        ends: How often each process has ended and was started again.
        points: Where workers have died by themselves.
        problems: Where the books disagree, and what has not ended.
        took_s: Seconds from the first order until the books agreed.
        counts: What monitors and nsqd have counted at the end; None if a process was to die.
    """

    plan: Plan
    books: Books
    ends: Mapping[str, int]
    points: Sequence[str]
    problems: Sequence[str]
    took_s: float
    counts: Counts | None = None


async def run_on(plan: Plan, folder: Path, *, is_embedded: bool) -> Finding:
    """Run on servers that are started for this run.

    Args:
        plan: What to do.
        folder: Where all files go; empty.
        is_embedded: Whether to use the embedded broker and SQLite, instead of nsqd and PostgreSQL.

    Raises:
        ChaosFailedError: If a server is not installed, or does not start.
    """
    if is_embedded:
        return await run(plan, folder)
    async with servers.real(folder) as found:
        return await run(plan, folder, found)


async def run(plan: Plan, folder: Path, real: Servers | None = None) -> Finding:
    """Place orders, kill every process in turn, and compare the books.

    Args:
        plan: What to do.
        folder: Where databases, mails and logs go; empty.
        real: Real servers; None for the embedded broker and SQLite.
    """
    postgres = real.postgres if real else ""
    nsqd = [real.nsqd] if real else []
    variables = read_variables(folder, has_free_ports=True, nsqd=nsqd, postgres=postgres)
    variables |= _SLOW if plan.is_peaceful else _QUICK
    variables["NSQKIT_APP_GATEWAY_FAILURE_RATIO"] = str(plan.failure_ratio)
    if real:
        variables["NSQKIT_NSQD_HTTP"] = real.nsqd_http
    marks = folder / "points"
    marks.mkdir()
    if plan.has_points:
        variables |= {"NSQKIT_MIDDLEWARE": "tests.chaos.shop.points:Mortal", VARIABLE: str(marks)}
    await asyncio.to_thread(prepare, variables, postgres)
    broker = NsqdHttp(real.nsqd_http if real else f"127.0.0.1:{variables['BROKER_HTTP']}")
    without = ("broker",) if real else ()
    with contextlib.closing(Reader(Settings.load(env=variables))) as reader:
        async with Supervised(variables, folder / "logs", without) as processes, _rest(variables) as rest:
            await processes.wait_ready()
            customers = place.Customers(rest, plan.rate)
            started_s = time.monotonic()
            async with asyncio.TaskGroup() as group:
                group.create_task(customers.place(place.baskets(BASKETS), plan.orders))
                group.create_task(_kill(plan, processes, customers))
            books, counted, problems = await _settled(plan, reader, customers, broker, variables)
            took_s = time.monotonic() - started_s
    points = sorted(each.name for each in marks.iterdir())
    return Finding(plan, books, processes.ends, points, problems, took_s, counted)


async def _kill(plan: Plan, processes: Supervised, customers: place.Customers) -> None:
    """Kill a process whenever a further share of the orders is placed."""
    for number, name in enumerate(plan.kills, 1):
        due = number * plan.orders // (len(plan.kills) + 1)
        await until(partial(_have_placed, customers, due), timeout_s=None)
        await processes.kill(name)


def _have_placed(customers: place.Customers, count: int) -> bool:
    return len(customers.placed) >= count


async def _settled(
    plan: Plan,
    reader: Reader,
    customers: place.Customers,
    broker: NsqdHttp,
    variables: Mapping[str, str],
) -> tuple[Books, Counts | None, Sequence[str]]:
    """Return the books once there are no problems, or when the time is over with those that are left."""
    ends_s = time.monotonic() + plan.wait_s
    while True:
        stats = await broker.stats()
        books = await asyncio.to_thread(reader.read)
        counted = await _counts(reader, stats, variables) if plan.is_peaceful else None
        problems = (
            *books.problems(customers.placed),
            *_left(stats),
            *(counted.problems() if counted else ()),
        )
        if not problems or time.monotonic() > ends_s:
            return books, counted, problems
        await asyncio.sleep(_LOOK_S)  # the books are read again


async def _counts(reader: Reader, stats: Any, variables: Mapping[str, str]) -> Counts:
    monitors = [f"http://127.0.0.1:{variables[name]}" for name in MONITORS]
    events, inboxes = await asyncio.to_thread(reader.events), await asyncio.to_thread(reader.inboxes)
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        return await counts.read(http, monitors, stats, events=events, inboxes=inboxes)


def _left(stats: Any) -> Iterator[str]:
    """Yield the topics that have messages: none may be left, and none may be a dead letter."""
    for topic in stats["topics"] or ():
        if count := waiting(topic):
            yield f"nsqd has {count} messages in {topic['topic_name']}"


@contextlib.asynccontextmanager
async def _rest(variables: Mapping[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    url = f"http://{variables['NSQKIT_APP_EDGE_HTTP']}/api/v1"
    async with httpx.AsyncClient(base_url=url, timeout=30, transport=Patient()) as found:
        yield found


class Patient(httpx.AsyncBaseTransport):
    """Sends a request again while the edge is away. The idempotency key makes that safe."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request until there is an answer."""
        while True:
            try:
                return await self._inner.handle_async_request(request)
            except httpx.TransportError:
                await asyncio.sleep(_LOOK_S)  # the edge is started again

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()
