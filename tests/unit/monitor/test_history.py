"""History: a sample a second in a fixed amount of memory, and what one costs."""

import sys
from collections import Counter
from types import FrameType

import pytest

from nsqkit.admin import IntakeState
from nsqkit.monitor.history import History
from nsqkit.monitor.ring import SECONDS
from nsqkit.policy.requeue_level import Share
from nsqkit.telemetry.metrics import WAIT_BUCKETS_S, Metrics, Vitals

MOST_CALLS_PER_HANDLER = 40
"""Of Python and C, for each sample."""
MOST_CALLS = 1500
"""For each sample, however many handlers there are: the figures of the process."""
LABELS = ("orders", "payments", "Charge")


def _history(metrics: Metrics, reason: IntakeState | None = None) -> History:
    return History(metrics, lambda _: reason)


def test_a_second_is_sampled_once() -> None:
    metrics = Metrics()
    meter = metrics.for_handler(*LABELS)
    history = _history(metrics)
    history.sample(100)
    meter.received(5)
    history.sample(101)
    meter.received(7)
    history.sample(101)
    assert history.tracks[LABELS].share(101, 60) == Share(0, 5)
    history.sample(102)
    assert history.tracks[LABELS].share(102, 60) == Share(0, 12)


def test_after_a_block_of_the_event_loop_the_counts_are_in_the_last_second() -> None:
    metrics = Metrics()
    meter = metrics.for_handler(*LABELS)
    history = _history(metrics)
    history.sample(100)
    meter.received(5)
    history.sample(100 + 3 * SECONDS)
    assert history.tracks[LABELS].share(history.second or 0, 1) == Share(0, 5)
    assert history.tracks[LABELS].share(history.second or 0, SECONDS) == Share(0, 5)


def test_a_handler_that_is_registered_later_has_a_track_too() -> None:
    metrics = Metrics()
    history = _history(metrics)
    history.sample(1)
    metrics.for_handler(*LABELS).received(3)
    history.sample(2)
    assert history.tracks[LABELS].share(2, 60) == Share(0, 0)


def test_changes_are_marked() -> None:
    metrics = Metrics()
    meter = metrics.for_handler(*LABELS)
    history = _history(metrics)
    history.sample(1)
    meter.paused(True)
    history.sample(2)
    history.sample(3)
    meter.paused(False)
    history.sample(4)
    assert [(mark.second, mark.kind, mark.handler) for mark in history.marks.since(0)] == [
        (1, "start", ""),
        (2, "pause", "Charge"),
        (4, "resume", "Charge"),
    ]
    assert list(history.tracks[LABELS].paused.last(4, 4)) == [0, 1, 1, 0]


def test_of_several_processes_the_worst_figure_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    vitals = [
        (Vitals(1, 5.0, 1 << 20, (0, 0), ()), Vitals(2, 8.0, 1 << 20, (0, 0), ())),
        (Vitals(1, 5.1, 3 << 20, (0, 1), ("gateway",)), Vitals(2, 8.5, 2 << 20, (1, 0), ())),
        (Vitals(3, 9.0, 2 << 20, (9, 9), ()),),
    ]
    metrics = Metrics()
    monkeypatch.setattr(metrics, "vitals", iter(vitals).__next__)
    history = _history(metrics)
    for second in range(3):
        history.sample(second)
    assert list(history.cpu.last(2, 3)) == [0, 500, 0], "a new process has used nothing yet"
    assert list(history.memory.last(2, 3)) == [1, 3, 2]
    assert list(history.lags.last(2, 3)) == [0, 2, 0]
    assert [mark.text for mark in history.marks.since(1)] == [
        "the breaker of gateway has opened; the breaker of gateway has closed"
    ]


def test_lags_and_waits_are_the_worst_of_each_second() -> None:
    metrics = Metrics()
    meters = [metrics.for_handler("orders", "payments", name) for name in ("One", "Other")]
    history = _history(metrics)
    history.sample(1)
    metrics.event_loop_lag(0.03)
    meters[0].executor_waits([0.0005, 0.002])
    meters[1].executor_waits([0.0005])
    history.sample(2)
    history.sample(3)
    assert list(history.lags.last(3, 3)) == [0, 1 + WAIT_BUCKETS_S.index(0.05), 0]
    assert list(history.waits.last(3, 3)) == [0, 1 + WAIT_BUCKETS_S.index(0.0025), 0]


def test_a_sample_costs_few_calls() -> None:
    """Nobody may be looking: the cost is counted in calls, since time is noise on a shared machine."""
    few, many = _calls_of_a_sample(10), _calls_of_a_sample(210)
    assert (many - few) / 200 <= MOST_CALLS_PER_HANDLER
    assert few <= MOST_CALLS + 10 * MOST_CALLS_PER_HANDLER


def _calls_of_a_sample(handlers: int) -> int:
    metrics = Metrics()
    meters = [metrics.for_handler("orders", "payments", f"Handler{number}") for number in range(handlers)]
    history = _history(metrics)
    history.sample(1)
    for meter in meters:
        meter.received(1)
        meter.succeeded([0.1], [0.1])
    calls: Counter[str] = Counter()

    def count(_frame: FrameType, kind: str, _argument: object) -> None:
        calls[kind] += 1

    sys.setprofile(count)
    try:
        history.sample(2)
    finally:
        sys.setprofile(None)
    return calls["call"] + calls["c_call"]
