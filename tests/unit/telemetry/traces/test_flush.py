"""The flush at the end of a worker: it waits for the export, but not for ever."""

import threading
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from structlog.testing import capture_logs

from nsqkit import Traces
from nsqkit.telemetry.traces.flush import flush
from tests.waiting import PATIENCE_S


class Slow(TracerProvider):
    """A provider whose export ends when the test lets it."""

    def __init__(self) -> None:
        super().__init__(shutdown_on_exit=False)
        self.may_end = threading.Event()
        self.has_ended = threading.Event()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        assert self.may_end.wait(PATIENCE_S)
        self.has_ended.set()
        return True


@pytest.fixture
def slow() -> Iterator[Slow]:
    provider = Slow()
    yield provider
    provider.may_end.set()
    assert provider.has_ended.wait(PATIENCE_S)


async def test_it_returns_when_all_is_exported(slow: Slow) -> None:
    slow.may_end.set()
    with capture_logs() as lines:
        await Traces(slow).close()
    assert slow.has_ended.is_set()
    assert lines == []


async def test_an_export_that_hangs_is_left_behind_and_logged(slow: Slow) -> None:
    with capture_logs() as lines:
        await flush(slow, 0.01)
    assert not slow.has_ended.is_set()
    assert [line["event"] for line in lines] == ["traces_not_flushed"]


async def test_a_provider_that_cannot_flush_is_left_alone() -> None:
    await flush(trace.NoOpTracerProvider())
