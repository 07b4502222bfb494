"""Shared: counts are in their cells at the end of the chunk, and everything else when it is shared."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from nsqkit.telemetry.metrics import Metrics
from nsqkit.telemetry.metrics.cells import CellReader, CellWriter
from nsqkit.telemetry.metrics.shared import SharedHandlerMetrics, SharedMetrics
from tests.waiting import turns

LABELS = ("orders", "inventory", "Reserve")


@pytest.fixture
def reader() -> Iterator[CellReader]:
    made = CellReader()
    yield made
    made.close()


@pytest.fixture
def metrics(reader: CellReader) -> SharedMetrics:
    return SharedMetrics(reader.descriptor)


def counts(reader: CellReader) -> dict[tuple[str, ...], Any]:
    """Return the counters that are not 0, by family without prefix and suffix, and own label."""
    return {
        (name.removeprefix("nsqkit_").removesuffix("_total"), *labels[3:]): number
        for name, series in reader.snapshot().families.items()
        if name.endswith("_total")
        for labels, number in zip(*series, strict=True)
        if number and labels[:3] == LABELS
    }


async def test_counts_are_there_at_the_end_of_the_turn(metrics: SharedMetrics, reader: CellReader) -> None:
    handler = metrics.for_handler(*LABELS, declared=frozenset({"CardError"}))
    handler.received(2)  # before anything is shared
    reader.extend(metrics.share())
    assert counts(reader) == {("messages_received",): 2}
    handler.received(3)
    handler.succeeded([0.1, 0.1], [0.01, 0.02])
    assert counts(reader) == {("messages_received",): 5, ("messages_processed", "success"): 2}
    for outcome in ("success", "requeue", "dead_letter"):
        handler.processed(outcome)
    handler.requeued("error")
    handler.dead_lettered("rule")
    handler.error("CardError")
    await turns()
    assert counts(reader) == {
        ("messages_received",): 5,
        ("messages_processed", "success"): 3,
        ("messages_processed", "requeue"): 1,
        ("messages_processed", "dead_letter"): 1,
        ("messages_requeued", "error"): 1,
        ("messages_dead_lettered", "rule"): 1,
        ("handler_errors", "CardError"): 1,
    }


async def test_a_turn_copies_once_however_many_deliveries_end_in_it(
    metrics: SharedMetrics, reader: CellReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = metrics.for_handler(*LABELS)
    reader.extend(metrics.share())
    copies = []
    real = SharedHandlerMetrics._copy

    def copy(self: SharedHandlerMetrics, writer: CellWriter) -> None:
        copies.append(writer)
        real(self, writer)

    monkeypatch.setattr(SharedHandlerMetrics, "_copy", copy)
    for _ in range(100):
        handler.processed("success")
    await turns()
    assert len(copies) == 1
    assert counts(reader) == {("messages_processed", "success"): 100}


def test_everything_else_is_there_when_it_is_shared(metrics: SharedMetrics, reader: CellReader) -> None:
    handler = metrics.for_handler(*LABELS, max_in_flight=7)
    reader.extend(metrics.share())
    handler.duration(0.5)
    handler.kill_switch("open")
    handler.max_in_flight(3)
    reader.extend(metrics.share())
    found, expected = reader.snapshot(), metrics.snapshot()
    for name in ("nsqkit_handler_duration_seconds", "nsqkit_kill_switch_state", "nsqkit_max_in_flight"):
        assert found.of(name) == expected.of(name)


def test_a_handler_of_a_single_process_counts_nowhere_else() -> None:
    assert type(Metrics().for_handler(*LABELS)).__name__ == "HandlerMetrics"


def test_a_handler_that_is_added_later_is_shared_too(metrics: SharedMetrics, reader: CellReader) -> None:
    metrics.for_handler("other", "channel", "Other")
    reader.extend(metrics.share())
    handler = metrics.for_handler(*LABELS)
    handler.received(1)
    assert counts(reader) == {}
    reader.extend(metrics.share())
    handler.received(1)
    assert counts(reader) == {("messages_received",): 2}
    assert os.fstat(reader.descriptor).st_size
