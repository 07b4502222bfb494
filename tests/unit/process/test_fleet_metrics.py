"""Fleet metrics: the sum over all children; what an ended child has counted goes on, its gauges do not."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from nsqkit.policy.breaker import BreakerState
from nsqkit.process.fleet_metrics import FleetMetrics
from nsqkit.telemetry.metrics import Figure, Format
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


def test_durations_of_a_handler_add_up_and_those_of_an_ended_child_stay(fleet: FleetMetrics) -> None:
    assert fleet.durations(LABELS) is None
    one = Child(fleet)
    one.counts(1, 0.001)
    one.reader.close()
    for duration_s in (0.1, 0.2):
        Child(fleet).counts(1, duration_s)
    Child(fleet, OLD).counts(1, 60.0)
    found = fleet.durations(LABELS)
    assert found is not None
    assert (sum(found.counts), found.largest) == (3, 0.2)
    assert fleet.durations(("orders", "other", "Other")) is None


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


def test_counts_of_every_second_add_up_and_those_of_an_ended_child_stay(fleet: FleetMetrics) -> None:
    one, other = Child(fleet), Child(fleet)
    one.handler.requeued("error")
    one.handler.requeued("paused")
    one.handler.paused(True)
    one.counts(3, 0.001)
    other.handler.requeued("timeout")
    other.handler.kill_switch("open")
    other.counts(4, 0.001)
    (counts,) = fleet.counts()
    assert counts[:6] == (LABELS, 7, 1, 1, 3, 0)
    assert sum(counts.ages) == 2
    assert (counts.is_paused, counts.is_switched_off) == (True, True)
    one.reader.close()
    other.handler.kill_switch("closed")
    other.share()
    (ended,) = fleet.counts()
    assert ended[:6] == counts[:6]
    assert (ended.is_paused, ended.is_switched_off) == (False, False)


async def test_they_are_those_that_one_process_reads(fleet: FleetMetrics) -> None:
    child = Child(fleet)
    child.counts(3, 0.001)
    child.handler.dead_lettered("exhausted")
    child.handler.processed("dead_letter")
    child.handler.requeued("error")
    child.handler.requeued("scheduled")
    child.handler.executor_waits([0.002])
    child.share()
    (counts,) = fleet.counts()
    assert (counts,) == child.metrics.counts()
    assert counts.requeued == 1


def test_vitals_are_those_of_each_child_that_runs(
    fleet: FleetMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {"gateway": BreakerState.OPEN, "warehouse": BreakerState.CLOSED}
    monkeypatch.setattr("nsqkit.telemetry.metrics.registry.breaker_states", lambda: states)
    children = [Child(fleet) for _ in range(2)]
    children[0].metrics.event_loop_lag(0.1)
    for child in children:
        child.share()
    one, other = fleet.vitals()
    assert one.process != other.process
    assert (sum(one.lags), sum(other.lags)) == (1, 0)
    assert one.memory_bytes > 1 << 20
    assert one.open_breakers == ("gateway",)
    children[0].reader.close()
    assert [each.process for each in fleet.vitals()] == [other.process]


def test_one_that_has_not_shared_anything_has_none(fleet: FleetMetrics) -> None:
    fleet.add_child()
    assert fleet.vitals() == ()
    assert fleet.counts() == ()


def test_figures_of_nsqd_are_merged_over_the_children(fleet: FleetMetrics) -> None:
    children = [Child(fleet) for _ in range(2)]
    labels = (*LABELS, "a:4150")
    for child, depth in zip(children, (5, 7), strict=True):
        figures: list[Figure] = [("nsqkit_rdy", labels, 3), ("nsqkit_channel_depth", labels, depth)]
        child.metrics.add_source(figures.copy)
        child.share()
    assert sorted(fleet.figures()) == [("nsqkit_channel_depth", labels, 7), ("nsqkit_rdy", labels, 6)]
