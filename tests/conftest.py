"""What all tests share: hypothesis measures no time, logs are unconfigured, and there is a browser."""

import gc
import logging
import os
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from nsqkit.telemetry import logs
from tests import kafka as kafka_server
from tests import rabbitmq as rabbitmq_server
from tests.chromium import MISSING, Tab, browser, chromium
from tests.waiting import PATIENCE_S

hypothesis.settings.register_profile("nsqkit", deadline=None)  # the machine may be busy
hypothesis.settings.load_profile("nsqkit")


def pytest_collection_finish() -> None:
    """Exempt the collected tests from garbage collection: with thousands, it took about half of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _unconfigured_logs() -> Iterator[None]:
    """Undo what ``configure_logs``, the command line or ``structlog.testing.capture_logs`` configured."""
    structlog.reset_defaults()
    root = logging.getLogger()
    handlers, level, showwarning = root.handlers[:], root.level, warnings.showwarning
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    warnings.showwarning = showwarning
    logs._Folding.is_on = False
    for name in ("nsq", "tornado.access", "tornado.general", "aio_pika", "aiormq"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    """A page of Chromium; the test is skipped where it is missing, and fails in CI."""
    program = chromium()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    folder = tmp_path / "chromium"
    folder.mkdir()
    async with browser(program, folder) as tab:
        yield tab


@pytest.fixture(scope="session")
def shared_kafka() -> Iterator[kafka_server.Kafka]:
    """A Kafka for all tests of the run; the fixture ``kafka`` is this one, and runs in each test."""
    with kafka_server.running() as server:
        yield server


@pytest.fixture
def kafka(shared_kafka: kafka_server.Kafka, monkeypatch: pytest.MonkeyPatch) -> kafka_server.Kafka:
    """A Kafka; a test may kill it. Topics of other tests may be there. It may be slow."""
    monkeypatch.setattr("nsqkit.bridge.kafka.client.OPEN_S", PATIENCE_S)
    monkeypatch.setattr("nsqkit.bridge.kafka.target.DELIVERY_S", PATIENCE_S)
    shared_kafka.start()
    return shared_kafka


@pytest.fixture(scope="session")
def shared_rabbitmq() -> Iterator[rabbitmq_server.Rabbitmq]:
    """A RabbitMQ for all tests of the run; the fixture ``rabbitmq`` is this one, and runs in each test."""
    with rabbitmq_server.running() as server:
        yield server


@pytest.fixture
def rabbitmq(shared_rabbitmq: rabbitmq_server.Rabbitmq) -> rabbitmq_server.Rabbitmq:
    """A RabbitMQ; a test may kill it. Queues and exchanges of other tests may be there."""
    shared_rabbitmq.start()
    return shared_rabbitmq
