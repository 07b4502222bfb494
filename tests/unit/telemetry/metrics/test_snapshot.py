"""Snapshots of several processes are added by labels, as each family's rule says."""

import math
from typing import Any

import pytest

from nsqkit.telemetry.metrics import FAMILIES, Exemplar, Histogram, HistogramSnapshot, Metrics, Snapshot
from nsqkit.telemetry.metrics.snapshot import Series

RESERVE = ("orders", "inventory", "Reserve")
NOTIFY = ("orders", "mail", "Notify")
EARLY = Exemplar("0af7651916cd43dd8448eb211c80319c", 0.5, 100.0)
LATE = Exemplar("b7ad6b7169203331b7ad6b7169203331", 0.7, 200.0)


def snapshot(family: str, points: dict[tuple[str, ...], Any]) -> Snapshot:
    return Snapshot({family: Series(tuple(points), tuple(points.values()))})


def histogram(*values: float, exemplar: Exemplar | None = None) -> HistogramSnapshot:
    made = Histogram((1.0, 2.0))
    for value in values:
        made.observe(value)
    if exemplar is not None:
        made.exemplar(exemplar)
    return made.snapshot()


@pytest.mark.parametrize(
    ("family", "one", "other", "both"),
    [
        pytest.param("nsqkit_messages_received_total", 3, 4, 7, id="counters add up"),
        pytest.param("nsqkit_in_flight", 3, 4, 7, id="a gauge of each process's own adds up"),
        pytest.param("nsqkit_intake_paused", 1, 1, 1, id="a state is not counted twice"),
        pytest.param("nsqkit_intake_paused", 0, 1, 1, id="a state of one of them shows"),
        pytest.param(
            "nsqkit_handler_duration_seconds",
            histogram(0.5, 1.5),
            histogram(1.5, 9.0),
            HistogramSnapshot((1.0, 2.0), (1, 2, 1), 12.5, 0.5, 9.0),
            id="histograms add up by bucket",
        ),
    ],
)
def test_numbers_of_the_same_labels(family: str, one: Any, other: Any, both: Any) -> None:
    merged = snapshot(family, {RESERVE: one}) + snapshot(family, {RESERVE: other})
    assert merged == snapshot(family, {RESERVE: both})


def test_labels_of_only_one_process_are_kept_in_their_order() -> None:
    family = "nsqkit_in_flight"
    merged = snapshot(family, {NOTIFY: 1}) + snapshot(family, {RESERVE: 2, NOTIFY: 3})
    assert list(merged.of(family).items()) == [(NOTIFY, 4), (RESERVE, 2)]


def test_families_of_only_one_process_are_kept() -> None:
    merged = snapshot("nsqkit_in_flight", {RESERVE: 1}) + snapshot("nsqkit_max_in_flight", {RESERVE: 9})
    assert (merged.of("nsqkit_in_flight"), merged.of("nsqkit_max_in_flight")) == ({RESERVE: 1}, {RESERVE: 9})
    assert merged.of("nsqkit_lost_slots") == {}


@pytest.mark.parametrize(
    ("one", "other", "kept"),
    [
        pytest.param(EARLY, LATE, {0: LATE}, id="the newer one"),
        pytest.param(LATE, EARLY, {0: LATE}, id="the newer one, in whichever order"),
        pytest.param(EARLY, None, {0: EARLY}, id="the only one"),
        pytest.param(None, EARLY, {0: EARLY}, id="the only one, of the other"),
        pytest.param(None, None, {}, id="none"),
    ],
)
def test_of_two_exemplars_of_a_bucket_one_is_kept(
    one: Exemplar | None, other: Exemplar | None, kept: dict[int, Exemplar]
) -> None:
    assert (histogram(0.5, exemplar=one) + histogram(0.7, exemplar=other)).exemplars == kept


def test_exemplars_are_kept_by_bucket() -> None:
    above = EARLY._replace(value=math.inf)
    assert (histogram(exemplar=above) + histogram(exemplar=LATE)).exemplars == {2: above, 0: LATE}


def test_histograms_with_different_buckets_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="different buckets"):
        _ = histogram(0.5) + Histogram((1.0,)).snapshot()


def test_a_snapshot_does_not_change_when_more_is_counted() -> None:
    metrics = Metrics()
    handler = metrics.for_handler(*RESERVE)
    handler.exemplar(EARLY.trace_id, 0.5, 100.0)
    before, unchanged = metrics.snapshot(), metrics.snapshot()
    handler.received(1)
    handler.duration(0.5)
    handler.exemplar(LATE.trace_id, 0.5, 200.0)
    for family in FAMILIES.keys() - {name for name in FAMILIES if "_process_" in name}:
        assert before.of(family) == unchanged.of(family)
    assert metrics.snapshot().of("nsqkit_messages_received_total") == {RESERVE: 1}


def test_two_processes_with_the_same_handlers_are_shown_as_one() -> None:
    """The numbers of all children are one exposition, with no series twice."""
    one, other = Metrics(), Metrics()
    for metrics, count in ((one, 1), (other, 2)):
        handler = metrics.for_handler(*RESERVE, max_in_flight=10)
        handler.received(count)
        handler.duration(0.5)
    merged = one.snapshot() + other.snapshot()
    assert merged.of("nsqkit_messages_received_total") == {RESERVE: 3}
    assert merged.of("nsqkit_max_in_flight") == {RESERVE: 20}
    assert sum(merged.of("nsqkit_handler_duration_seconds")[RESERVE].counts) == 2
    for family in FAMILIES:
        assert merged.families[family].labels == one.snapshot().families[family].labels
