"""What the tests of nsqkit.nsq share."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Callable

import pytest

from tests.unit.nsq.fake_nsqd import FakeNsqd

ON_BOTH_LOOPS = {"test_connection", "test_dial", "test_lifeline", "test_stream", "test_wrong_port"}


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests of sockets on uvloop, too."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.stem in ON_BOTH_LOOPS and importlib.util.find_spec("uvloop"):
        import uvloop  # noqa: PLC0415 - an extra

        loops["uvloop"] = uvloop.new_event_loop
    return loops


@pytest.fixture
async def nsqd() -> AsyncIterator[FakeNsqd]:
    async with FakeNsqd() as fake:
        yield fake
