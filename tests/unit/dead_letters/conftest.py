"""What the tests of dead letters share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from nsqkit.dead_letters.store import Store
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.publisher_pool import PublisherPool


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "dead.sqlite", make=True) as store:
        yield store


@pytest.fixture
async def publishers() -> AsyncIterator[PublisherPool]:
    publishers = PublisherPool(ConnectionOptions())
    yield publishers
    await publishers.close()
