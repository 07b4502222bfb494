from collections.abc import AsyncIterator

import pytest

from nsqkit.devbroker import DevLookupd


@pytest.fixture
async def lookupd() -> AsyncIterator[DevLookupd]:
    """An embedded nsqlookupd on free ports."""
    lookupd = DevLookupd(0, 0)
    await lookupd.start()
    yield lookupd
    await lookupd.stop()
