"""What the tests of nsqkit.nsq share."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.nsq.fake_nsqd import FakeNsqd


@pytest.fixture
async def nsqd() -> AsyncIterator[FakeNsqd]:
    async with FakeNsqd() as fake:
        yield fake
