"""Dev: a development run keeps its dead letters, and fails for none of them."""

from pathlib import Path

import pytest
import structlog

from nsqkit import Settings
from nsqkit.dead_letters import dev_collector as module
from nsqkit.dead_letters.dev_collector import DevCollector
from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.store import Store
from nsqkit.devbroker import DevBroker
from nsqkit.errors import DeadLetterStoreError
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.publisher_pool import PublisherPool
from tests.unit.dead_letters.letters import published
from tests.waiting import until

DEAD = "orders.payments.dead"


@pytest.fixture
def settings(broker: DevBroker, tmp_path: Path) -> Settings:
    store = str(tmp_path / "dead.sqlite")
    return Settings(nsqd=(broker.tcp_address,), nsqd_http=(broker.http_address,), dead_store=store)


def collection(settings: Settings, log: structlog.testing.LogCapture) -> DevCollector:
    made = DevCollector(settings)
    made._log = structlog.wrap_logger(None, processors=[log])
    return made


async def bury(publishers: PublisherPool, broker: DevBroker, count: int) -> None:
    await publishers.ensure_channel(broker.tcp_address, DEAD, "dead")
    await publishers.publish_many(broker.tcp_address, DEAD, [published()] * count)


@pytest.fixture
def log() -> structlog.testing.LogCapture:
    return structlog.testing.LogCapture()


async def test_what_is_dead_at_the_end_is_in_the_store_and_one_line_says_so(
    broker: DevBroker, publishers: PublisherPool, settings: Settings, log: structlog.testing.LogCapture
) -> None:
    made = collection(settings, log)
    made.start()
    await bury(publishers, broker, 300)
    await made.stop()
    with Store(Path(settings.dead_store)) as store:
        assert store.count(Filters()) == 300
    assert [(line["event"], line["stored"]) for line in log.entries] == [("dead_letters_collected", 300)]


async def test_where_nothing_is_dead_nothing_is_said(
    settings: Settings, log: structlog.testing.LogCapture
) -> None:
    made = collection(settings, log)
    made.start()
    await made.stop()
    assert log.entries == []


async def test_what_a_handler_of_the_run_reads_is_left_to_it(
    broker: DevBroker, publishers: PublisherPool, settings: Settings, log: structlog.testing.LogCapture
) -> None:
    handler = Connection(broker.tcp_address, ConnectionOptions())
    await handler.open()
    await handler.subscribe(DEAD, "dead")
    made = collection(settings, log)
    made.start()
    await bury(publishers, broker, 1)
    await made.stop()
    assert log.entries == []
    handler.close()


async def test_a_store_that_cannot_be_made_is_told_and_fails_nothing(
    settings: Settings, tmp_path: Path, log: structlog.testing.LogCapture
) -> None:
    object.__setattr__(settings, "dead_store", str(tmp_path / "none" / "dead.sqlite"))
    made = collection(settings, log)
    made.start()
    await made.stop()
    (line,) = log.entries
    assert (line["event"], line["log_level"], line["setting"]) == (
        "dead_letters_not_collected",
        "warning",
        "dead_store",
    )


async def test_what_is_left_after_a_while_is_told_and_fails_nothing(
    broker: DevBroker,
    publishers: PublisherPool,
    settings: Settings,
    log: structlog.testing.LogCapture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_END_S", 0.0)
    made = collection(settings, log)
    made.start()
    await bury(publishers, broker, 1)
    await made.stop()
    assert log.entries[0]["event"] == "dead_letters_not_collected"
    assert log.entries[0]["error"] == "some are left after 0 s"


async def test_a_store_that_fails_is_told_at_once(
    broker: DevBroker,
    publishers: PublisherPool,
    settings: Settings,
    log: structlog.testing.LogCapture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def add(*_: object) -> int:
        raise DeadLetterStoreError("dead.sqlite", "the disk is full")

    monkeypatch.setattr(Store, "add", add)
    made = collection(settings, log)
    made.start()
    await bury(publishers, broker, 1)
    await until(lambda: log.entries)
    assert log.entries[0]["event"] == "dead_letters_not_collected"
    assert "the disk is full" in log.entries[0]["error"]
    await made.stop()
