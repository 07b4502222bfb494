from collections.abc import AsyncIterator

import pytest

from nsqkit.devbroker import DevBroker


@pytest.fixture
async def broker() -> AsyncIterator[DevBroker]:
    """An embedded broker on free ports."""
    broker = DevBroker(0, 0)
    await broker.start()
    yield broker
    await broker.stop()
