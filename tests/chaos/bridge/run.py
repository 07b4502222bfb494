"""Run: lets orders pass from Kafka over NSQ to RabbitMQ, and stops one part after the other meanwhile."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.chaos.bridge import books
from tests.chaos.bridge.books import ARRIVED, FAULTS, Finding, order_id
from tests.chaos.bridge.orders import PARTITIONS, Orders
from tests.chaos.bridge.partner import Partner
from tests.chaos.bridge.returns import Returns
from tests.chaos.bridge.stage import MSG_TIMEOUT_S, Brokers, Stage
from tests.chaos.errors import ChaosFailedError
from tests.chaos.ledger import CONFIRMED, Ledger
from tests.chaos.programs import Programs
from tests.waiting import until

_QUIET_LOOKS: Final = 3  # no look is at one moment


@dataclass(frozen=True)
class Plan:
    """What to do.

    Args:
        orders: Orders that Kafka confirms at least; 1 or more.
        rate: Orders per second.
        faults: Kinds of faults, in their order; those of one run come one after the other.
        wait_s: Seconds until orders must pass after a fault, and until all must have arrived at the end.
        first: Module of a first bridge that dies by itself; empty for an ordinary one.
    """

    orders: int
    rate: float
    faults: Sequence[str]
    wait_s: float
    first: str = ""


def shuffled(of_each: int, seed: int) -> list[str]:
    """Return faults of all kinds in a random order.

    Args:
        of_each: How many of each kind; 0 or more.
        seed: Of the draws.
    """
    kinds = list(books.HOPS) * of_each
    random.Random(seed).shuffle(kinds)
    return kinds


async def run(plan: Plan, folder: Path, brokers: Brokers) -> Finding:
    """Let orders pass, stop one part after the other, and return what has become of the orders.

    Args:
        plan: What to do.
        folder: Where ledgers and logs go.
        brokers: The other brokers, which run.

    Raises:
        ChaosFailedError: If a process ends by itself, or no order passes after a fault.
    """
    began_s = time.monotonic()

    def clock() -> float:
        return time.monotonic() - began_s

    programs = Programs(folder)
    ledgers = {name: Ledger(folder / name) for name in (CONFIRMED, ARRIVED, FAULTS)}
    stage = Stage(programs, folder, brokers, plan.first)
    orders = Orders(brokers.kafka, brokers.topic, ledgers[CONFIRMED])
    partner: Partner | Returns = Partner(brokers.rabbitmq, brokers.queue, ledgers[ARRIVED], clock)
    if brokers.returned is not None:
        partner = Returns(brokers.returned, ledgers[ARRIVED], clock)

    async def carry_out(kind: str) -> None:
        fault_s = clock()
        await stage.stops[kind]()
        await _flowing(stage, orders, partner, plan.wait_s)
        ledgers[FAULTS].write(f"{kind} {fault_s:.3f} {clock():.3f}")

    try:
        await stage.start()
        async with _beside(partner):
            await _disturbed(plan, orders, partner, carry_out)
            await _settled(stage, partner, plan.wait_s)
            await stage.stop()
    finally:
        await programs.end()
        for each in ledgers.values():
            each.close()
    return books.read(
        folder,
        orders.written,
        late_s=MSG_TIMEOUT_S,
        took_s=clock(),
        codes=tuple(stage.codes),
        hops=books.RETURN_HOPS if brokers.returned else books.HOPS,
    )


async def _disturbed(
    plan: Plan, orders: Orders, partner: Partner | Returns, carry_out: Callable[[str], Awaitable[None]]
) -> None:
    """Write orders until all faults are over; each fault begins after its share of the orders."""
    are_over = asyncio.Event()

    def is_enough() -> bool:
        return are_over.is_set() and orders.confirmed >= plan.orders

    async with asyncio.TaskGroup() as group:
        group.create_task(orders.write(plan.rate, partner.orders, is_enough))
        for number, kind in enumerate(plan.faults, 1):
            due = plan.orders * number // (len(plan.faults) + 1)
            await until(partial(_are_confirmed, orders, due), timeout_s=None)
            await carry_out(kind)
        are_over.set()


def _are_confirmed(orders: Orders, count: int) -> bool:
    return orders.confirmed >= count


async def _flowing(stage: Stage, orders: Orders, partner: Partner | Returns, wait_s: float) -> None:
    """Wait until an order of each partition has passed that was written now, and no message is deferred."""
    probes = {order_id(orders.written + number) for number in range(PARTITIONS)}

    async def is_flowing() -> bool:
        stage.require_running()
        return probes <= partner.orders and not await stage.deferred()

    try:
        await until(is_flowing, timeout_s=wait_s)
    except AssertionError:
        raise ChaosFailedError(f"no order passes {wait_s:g} s after a fault") from None


async def _settled(stage: Stage, partner: Partner | Returns, wait_s: float) -> None:
    """Wait until nothing is on its way; what is after the time limit counts as lost."""
    looks = 0

    async def is_quiet() -> bool:
        nonlocal looks
        stage.require_running()
        looks = 0 if await stage.left() or await partner.left() else looks + 1
        return looks == _QUIET_LOOKS

    with contextlib.suppress(AssertionError):
        await until(is_quiet, timeout_s=wait_s)


@contextlib.asynccontextmanager
async def _beside(partner: Partner | Returns) -> AsyncIterator[None]:
    task = asyncio.create_task(partner.read())
    try:
        yield
        if task.done():
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
