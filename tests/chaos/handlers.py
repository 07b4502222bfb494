"""What the workers run: handlers that are slow, fail, hang or are greedy, as the order's id says.

Each writes into its process's ledger when it starts and, right before it returns, that it has succeeded.
"""

import asyncio
import contextlib
import os
import signal
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from handlers.orders import OrderCreated
from nsqkit import Context, Exponential, Handler, RetryPolicy, Settings, resource
from tests.chaos import orders as kinds
from tests.chaos.ledger import Ledger

MAX_ATTEMPTS = 8
TIMEOUT_S = 2.5
SLOW_S = 1.5
"""Longer than GRACE_S in ``workers``: a deploy cancels it."""
_PAGE_BYTES = 4096
_MIB = 1 << 20
_BACKOFF = Exponential(base_s=0.05, factor=2, max_s=0.5)


class ChaosError(Exception):
    """It fails, as its kind says."""


class WorkerLedger:
    """What the handlers of one process did, one line each, with the system's monotonic time in seconds."""

    def __init__(self, path: Path) -> None:
        self._ledger = Ledger(path)

    @contextlib.contextmanager
    def entry(self, order: OrderCreated, ctx: Context) -> Iterator[None]:
        """Write that an order is started, and how that ended."""
        self._write("started", order, f"{ctx.attempts} {ctx.nsqd}")
        try:
            yield
        except asyncio.CancelledError:
            self._write("cancelled", order)
            raise
        except Exception:
            self._write("failed", order)
            raise
        self._write("succeeded", order)

    def _write(self, what: str, order: OrderCreated, more: str = "") -> None:
        self._ledger.write(f"{what} {order.order_id} {time.monotonic():.3f} {more}")

    def close(self) -> None:
        """Close the file."""
        self._ledger.close()


@resource
def worker_ledger(settings: Settings) -> Iterator[WorkerLedger]:
    """Open the ledger that the setting ``app.ledger`` names."""
    ledger = WorkerLedger(Path(settings.app_text("ledger", os.devnull)))
    yield ledger
    ledger.close()


class Orders(
    Handler[OrderCreated],
    topic=kinds.ORDERS,
    channel=kinds.CHANNEL,
    timeout_s=TIMEOUT_S,
    retry=RetryPolicy(max_attempts=MAX_ATTEMPTS, backoff=_BACKOFF),
):
    """Handles orders on the event loop."""

    def __init__(self, ledger: WorkerLedger) -> None:
        self._ledger = ledger
        self._one_greedy = asyncio.Semaphore()

    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        """Do as the order's kind says."""
        if kinds.kind_of(event.order_id) == kinds.FORGOTTEN:
            return
        with self._ledger.entry(event, ctx):
            await self._behave(event.order_id, is_first=ctx.attempts == 1)

    async def _behave(self, order_id: str, *, is_first: bool) -> None:
        match kinds.kind_of(order_id):
            case kinds.QUICK:
                await asyncio.sleep(_some_s(order_id))  # the handler's work
            case kinds.SLOW:
                await asyncio.sleep(SLOW_S)  # the handler's work
            case kinds.HANGING if is_first:
                await asyncio.Event().wait()
            case kinds.DEAF if is_first:
                await _ignore_cancellation()
            case kinds.HOPELESS:
                raise ChaosError(order_id)
            case kinds.FLAKY if is_first:
                raise ChaosError(order_id)
            case kinds.GREEDY:
                async with self._one_greedy:
                    await _hold_memory(50 + zlib.crc32(order_id.encode()) % 151)


class Mails(
    Handler[OrderCreated],
    topic=kinds.MAILS,
    channel=kinds.CHANNEL,
    timeout_s=TIMEOUT_S,
    threads=8,
    retry=RetryPolicy(max_attempts=MAX_ATTEMPTS, backoff=_BACKOFF),
):
    """Handles orders in threads."""

    def __init__(self, ledger: WorkerLedger) -> None:
        self._ledger = ledger

    def handle(self, event: OrderCreated, ctx: Context) -> None:
        """Do as the order's kind says."""
        with self._ledger.entry(event, ctx):
            if kinds.kind_of(event.order_id) == kinds.BLOCKED and ctx.attempts == 1:
                threading.Event().wait(TIMEOUT_S * 1.4)  # deaf to ctx.cancelled
                raise ChaosError(event.order_id)
            time.sleep(_some_s(event.order_id) / 4)  # the handler's work


class PoisonedOrders(
    Handler[OrderCreated],
    topic=kinds.ORDERS,
    channel=kinds.CHANNEL,
    max_in_flight=100,
    timeout_s=TIMEOUT_S,
    retry=RetryPolicy(max_attempts=2, backoff=_BACKOFF),
):
    """Handles orders until a poisonous one ends its process."""

    def __init__(self, ledger: WorkerLedger) -> None:
        self._ledger = ledger

    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        """Do as the order's kind says."""
        with self._ledger.entry(event, ctx):
            if kinds.kind_of(event.order_id) == kinds.POISON:
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(_some_s(event.order_id))  # the handler's work


def _some_s(order_id: str) -> float:
    """Return 0 to 20 ms, always the same for an order."""
    return zlib.crc32(order_id.encode()) % 20 / 1000


async def _ignore_cancellation() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def _hold_memory(mib: int) -> None:
    block = bytearray(mib * _MIB)
    block[::_PAGE_BYTES] = b"\1" * (len(block) // _PAGE_BYTES)  # untouched pages take no memory
    await asyncio.sleep(0.05)  # the handler's work, for which it holds the memory
    del block
