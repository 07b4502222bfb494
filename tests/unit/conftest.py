"""What unit tests share: an embedded broker on free ports, and time that takes no time."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from nsqkit.devbroker import DevBroker
from nsqkit.runtime.pool import PoolThread
from nsqkit.testing.clock import VirtualClock
from tests.waiting import PATIENCE_S


@pytest.fixture(autouse=True)
def no_thread_outlives_its_test() -> Iterator[None]:
    """End the threads of pools that nobody closed: virtual time would wait for what they may do."""
    before = set(threading.enumerate())
    yield
    if left := set(threading.enumerate()) - before:
        gc.collect()  # an executor that is gone lets its threads end
        for thread in left:
            if isinstance(thread, PoolThread):
                thread.pool.close()
            thread.join(PATIENCE_S)


@pytest.fixture
async def broker() -> AsyncIterator[DevBroker]:
    """A broker on the loop of the test."""
    broker = DevBroker(tcp_port=0, http_port=0)
    await broker.start()
    yield broker
    await broker.stop()


@pytest.fixture
def threaded_broker() -> Iterator[DevBroker]:
    """A broker on a loop and in a thread of its own, for code that runs its own loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    broker = DevBroker(tcp_port=0, http_port=0)
    asyncio.run_coroutine_threadsafe(broker.start(), loop).result(PATIENCE_S)
    yield broker
    asyncio.run_coroutine_threadsafe(broker.stop(), loop).result(PATIENCE_S)
    asyncio.run_coroutine_threadsafe(_all_done(), loop).result(PATIENCE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE_S)
    loop.close()


async def _all_done() -> None:
    """Wait for what is under way, such as accepting a connection."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


@pytest.fixture
async def hours() -> AsyncIterator[VirtualClock]:
    """Time on the loop of the test that passes only when nothing else can happen."""
    clock = VirtualClock(lambda: False, outside_wait_s=0.0)
    clock.start()
    yield clock
    clock.stop()
