"""Fleet metrics: the sum over all children; what an ended child has counted goes on, its gauges do not."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from nsqkit.process.fleet_metrics import FleetMetrics
from nsqkit.telemetry.metrics import Format
from nsqkit.telemetry.metrics.shared import SharedMetrics

if TYPE_CHECKING:
    from nsqkit.telemetry.metrics.cells import CellReader

LABELS = ("orders", "inventory", "Reserve")
OLD = ("orders", "old", "Old")


class Child:
    """A child that counts, and its memory."""

    def __init__(self, fleet: FleetMetrics, labels: tuple[str, str, str] = LABELS) -> None:
        self.reader: CellReader = fleet.add_child()
        self.metrics = SharedMetrics(self.reader.descriptor)
        self.handler = self.metrics.for_handler(*labels, max_in_flight=10)
        self.share()

    def share(self) -> None:
        self.reader.extend(self.metrics.share())

    def counts(self, received: int, duration_s: float) -> None:
        self.handler.received(received)
        self.handler.succeeded([0.1], [duration_s])
        self.share()


@pytest.fixture
def fleet() -> Iterator[FleetMetrics]:
    made = FleetMetrics()
    yield made
    for reader in made._readers:
        reader.close()


def lines(fleet: FleetMetrics) -> dict[str, float]:
    text = b"".join(fleet.exposition()).decode()
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(number) for name, number in pairs}


def named(family: str, handler: str = "Reserve", channel: str = "inventory") -> str:
    return f'nsqkit_{family}{{topic="orders",channel="{channel}",handler="{handler}"}}'


def test_counters_gauges_and_histograms_add_up_by_label(fleet: FleetMetrics) -> None:
    one, other = Child(fleet), Child(fleet)
    one.counts(3, 0.001)
    other.counts(4, 0.1)
    shown = lines(fleet)
    assert shown[named("messages_received_total")] == 7
    assert shown[named("in_flight")] == 5
    assert shown[named("max_in_flight")] == 20
    assert shown[named("handler_duration_seconds_count")] == 2
    assert shown[named("handler_duration_seconds_sum")] == pytest.approx(0.101)
    (row,) = fleet.summary()
    assert (row.handler, row.received, row.success) == ("Reserve", 7, 2)
    assert row.p99_s == pytest.approx(0.1, 0.01)


def test_a_replaced_child_counts_on_and_its_gauges_are_0(fleet: FleetMetrics) -> None:
    one = Child(fleet)
    one.counts(3, 0.001)
    one.reader.close()
    for _ in range(2):
        assert lines(fleet)[named("messages_received_total")] == 3
        assert lines(fleet)[named("in_flight")] == 0
    Child(fleet).counts(2, 0.001)
    assert lines(fleet)[named("messages_received_total")] == 5
    assert lines(fleet)[named("max_in_flight")] == 10


def test_a_replacement_may_bring_other_handlers(fleet: FleetMetrics) -> None:
    before = Child(fleet, OLD)
    before.counts(3, 0.001)
    Child(fleet).counts(2, 0.001)
    before.reader.close()
    assert {row.handler: row.received for row in fleet.summary()} == {"Old": 3, "Reserve": 2}
    assert lines(fleet)[named("messages_received_total", "Old", "old")] == 3


def test_hundreds_of_restarts_keep_no_memory_open(fleet: FleetMetrics) -> None:
    for _ in range(300):
        child = Child(fleet)
        child.counts(1, 0.001)
        child.reader.close()
    assert lines(fleet)[named("messages_received_total")] == 300
    assert fleet._readers == []


def test_exemplars_are_those_of_the_children(fleet: FleetMetrics) -> None:
    child = Child(fleet)
    child.counts(1, 0.5)
    child.handler.exemplar("a" * 32, 0.5, 1_790_000_000.0)
    child.share()
    text = b"".join(fleet.exposition(Format.OPENMETRICS)).decode()
    assert f'# {{trace_id="{"a" * 32}"}} 0.5 1790000000.000' in text


def test_the_parents_event_loop_is_not_counted(fleet: FleetMetrics) -> None:
    fleet.event_loop_lag(5.0)
    assert lines(fleet)["nsqkit_event_loop_lag_seconds_count"] == 0
    child = Child(fleet)
    child.metrics.event_loop_lag(0.1)
    child.share()
    assert lines(fleet)["nsqkit_event_loop_lag_seconds_count"] == 1
