"""Metrics: names and labels of the contract, counts, and quantiles from buckets."""

import gc
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from nsqkit.handler.breaker import Breaker
from nsqkit.handler.publish_counts import count_published
from nsqkit.policy.breaker import BreakerState
from nsqkit.policy.kill_switch import SwitchState
from nsqkit.telemetry.metrics import (
    AGE_BUCKETS_S,
    COMMANDS,
    DEAD_LETTER_REASONS,
    DURATION_BUCKETS_S,
    FAMILIES,
    OUTCOMES,
    REQUEUE_REASONS,
    WAIT_BUCKETS_S,
    Family,
    HandlerMetrics,
    Histogram,
    Metrics,
)

OF_A_WORKER = (
    *("nsqkit_rdy", "nsqkit_connection_state", "nsqkit_background_tasks_died"),
    *(f"nsqkit_channel_{name}" for name in ("depth", "deferred", "in_flight", "paused")),
    *(f"nsqkit_database_pool_{name}" for name in ("size", "in_use", "waiting")),
    *("nsqkit_outbox_waiting", "nsqkit_outbox_oldest_age_seconds"),
    "nsqkit_saga_changes_total",
    *(f"nsqkit_route_{name}" for name in ("lag", "disconnected", "paused")),
    *(f"nsqkit_route_{name}_total" for name in ("refused", "redelivered", "skipped")),
)
"""Metrics that a worker knows by itself."""

LABELS = {"topic": "orders", "channel": "inventory", "handler": "Reserve"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def handler(metrics: Metrics) -> HandlerMetrics:
    return metrics.for_handler(
        "orders", "inventory", "Reserve", max_in_flight=100, declared=frozenset({"UnknownSku"})
    )


def _value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, LABELS | labels)


def _text(metrics: Metrics) -> str:
    return b"".join(metrics.exposition()).decode()


@pytest.mark.parametrize(
    ("name", "label", "values"),
    [
        pytest.param("nsqkit_messages_processed_total", "outcome", OUTCOMES, id="outcomes"),
        pytest.param("nsqkit_messages_requeued_total", "reason", REQUEUE_REASONS, id="requeue reasons"),
        pytest.param("nsqkit_messages_dead_lettered_total", "reason", DEAD_LETTER_REASONS, id="dead letters"),
        pytest.param("nsqkit_settle_failures_total", "command", COMMANDS, id="commands"),
        pytest.param("nsqkit_handler_errors_total", "error_type", ("UnknownSku", "other"), id="error types"),
    ],
)
def test_every_value_of_a_closed_label_is_there_at_zero(
    metrics: Metrics, handler: HandlerMetrics, name: str, label: str, values: tuple[str, ...]
) -> None:
    assert [_value(metrics, name, **{label: value}) for value in values] == [0.0] * len(values)


def test_the_names_are_those_of_the_contract(metrics: Metrics, handler: HandlerMetrics) -> None:
    names = {family.name for family in text_string_to_metric_families(_text(metrics))}
    assert names >= {
        "nsqkit_messages_received",  # a counter's samples end in _total
        "nsqkit_messages_processed",
        "nsqkit_messages_requeued",
        "nsqkit_messages_dead_lettered",
        "nsqkit_handler_errors",
        "nsqkit_settle_failures",
        "nsqkit_requeue_delays_clamped",
        "nsqkit_handler_duration_seconds",
        "nsqkit_message_age_seconds",
        "nsqkit_in_flight",
        "nsqkit_max_in_flight",
        "nsqkit_intake_paused",
        "nsqkit_kill_switch_state",
        "nsqkit_breaker_state",
        "nsqkit_event_loop_lag_seconds",
        "nsqkit_executor_wait_seconds",
        "nsqkit_process_cpu_seconds",
        "nsqkit_process_resident_memory_bytes",
        "nsqkit_published",
        *(name.removesuffix("_total") for name in OF_A_WORKER),
    }
    assert all(name.startswith("nsqkit_") for name in names)


def test_every_metric_is_in_the_table_and_is_shown_as_it_says(
    metrics: Metrics, handler: HandlerMetrics
) -> None:
    breaker = Breaker("tabled warehouse", failures=1)
    handler.kill_switch("closed")
    metrics.clock_skew("127.0.0.1:4150", 0.0)
    count_published("tabled", None)
    metrics.add_source(lambda: [(name, ("x",) * len(FAMILIES[name].labels), 1) for name in OF_A_WORKER])
    shown = {family.name: family for family in metrics.collect()}
    assert breaker is not None
    assert list(shown) == [name.removesuffix("_total") for name in FAMILIES]
    for name, family in FAMILIES.items():
        metric = shown[name.removesuffix("_total")]
        assert (metric.type, metric.documentation) == (family.kind, family.help)
        labels = {label for sample in metric.samples for label in sample.labels}
        assert labels - {"le"} == set(family.labels)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_name_follows_the_conventions_of_prometheus(family: Family) -> None:
    """Counters end in _total, histograms in a base unit, and no name repeats its kind."""
    assert re.fullmatch(r"nsqkit(_[a-z]+)+", family.name)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert family.kind != "histogram" or family.name.endswith(("_seconds", "_bytes"))
    assert not set(family.name.split("_")) & {"counter", "gauge", "histogram", "ms", "milliseconds", "count"}
    assert family.help.endswith(".")
    assert not set(family.labels) & {"le", "quantile", "job", "instance"}


def test_each_method_counts_in_its_own_series(metrics: Metrics, handler: HandlerMetrics) -> None:
    for _ in range(3):
        handler.received(1)
    handler.processed("requeue")
    handler.requeued("error")
    handler.dead_lettered("exhausted")
    handler.settle_failure("TOUCH")
    handler.delay_clamped()
    handler.max_in_flight(50)
    handler.duration(0.02)
    handler.age(2.0)
    handler.executor_waits([0.2])
    handler.stalled()
    metrics.event_loop_lag(0.3)
    metrics.event_loop_blocked()
    assert _value(metrics, "nsqkit_messages_received_total") == 3
    assert _value(metrics, "nsqkit_messages_processed_total", outcome="requeue") == 1
    assert _value(metrics, "nsqkit_messages_processed_total", outcome="success") == 0
    assert _value(metrics, "nsqkit_messages_requeued_total", reason="error") == 1
    assert _value(metrics, "nsqkit_messages_dead_lettered_total", reason="exhausted") == 1
    assert _value(metrics, "nsqkit_settle_failures_total", command="TOUCH") == 1
    assert _value(metrics, "nsqkit_requeue_delays_clamped_total") == 1
    assert _value(metrics, "nsqkit_in_flight") == 2
    assert _value(metrics, "nsqkit_max_in_flight") == 50
    assert _value(metrics, "nsqkit_handler_duration_seconds_sum") == 0.02
    assert _value(metrics, "nsqkit_message_age_seconds_count") == 1
    assert _value(metrics, "nsqkit_executor_wait_seconds_bucket", le="0.25") == 1
    assert _value(metrics, "nsqkit_stalls_total") == 1
    assert metrics.registry.get_sample_value("nsqkit_event_loop_lag_seconds_sum") == 0.3
    assert metrics.registry.get_sample_value("nsqkit_event_loop_blocks_total") == 1


def test_a_clock_behind_nsqds_makes_no_negative_age(metrics: Metrics, handler: HandlerMetrics) -> None:
    handler.age(-1.0)
    assert _value(metrics, "nsqkit_message_age_seconds_sum") == 0
    assert _value(metrics, "nsqkit_message_age_seconds_count") == 1


@pytest.mark.parametrize("state", SwitchState)
def test_a_kill_switch_is_in_one_of_its_states(
    metrics: Metrics, handler: HandlerMetrics, state: SwitchState
) -> None:
    metrics.for_handler("orders", "notify", "Notify")
    handler.kill_switch("open")
    handler.kill_switch(state.value)
    shown = [_value(metrics, "nsqkit_kill_switch_state", state=each) for each in SwitchState]
    assert shown == [each is state for each in SwitchState]


def test_a_handler_without_a_kill_switch_shows_none(metrics: Metrics, handler: HandlerMetrics) -> None:
    assert _value(metrics, "nsqkit_kill_switch_state", state="closed") is None


def test_a_kill_switch_has_no_other_state(handler: HandlerMetrics) -> None:
    with pytest.raises(ValueError, match="'ajar' is not a valid SwitchState"):
        handler.kill_switch("ajar")


def test_an_intake_is_paused_or_not(metrics: Metrics, handler: HandlerMetrics) -> None:
    shown = [_value(metrics, "nsqkit_intake_paused")]
    for is_paused in (True, False):
        handler.paused(is_paused)
        shown.append(_value(metrics, "nsqkit_intake_paused"))
    assert shown == [0, 1, 0]


def test_a_breaker_is_in_one_of_its_states_for_as_long_as_it_is_in_use(metrics: Metrics) -> None:
    breaker = Breaker("metered warehouse", failures=1)

    def shown() -> list[float | None]:
        gauge = "nsqkit_breaker_state"
        labels = [{"dependency": "metered warehouse", "state": state} for state in BreakerState]
        return [metrics.registry.get_sample_value(gauge, each) for each in labels]

    assert shown() == [1, 0, 0]
    with pytest.raises(OSError, match="down"), breaker:
        raise OSError("down")
    assert shown() == [0, 1, 0]
    del breaker
    gc.collect()
    assert shown() == [None] * 3


def test_an_error_type_that_was_not_declared_is_other(metrics: Metrics, handler: HandlerMetrics) -> None:
    for error_type in ("UnknownSku", "KeyError", "anything at all"):
        handler.error(error_type)
    assert _value(metrics, "nsqkit_handler_errors_total", error_type="UnknownSku") == 1
    assert _value(metrics, "nsqkit_handler_errors_total", error_type="other") == 2


def test_the_number_of_series_does_not_grow_with_what_is_counted(
    metrics: Metrics, handler: HandlerMetrics
) -> None:
    before = _text(metrics).count("\n")
    for n in range(1000):
        handler.error(f"Error{n}")
        handler.duration(n)
        handler.age(-n)
    assert _text(metrics).count("\n") == before
    series = [line for line in _text(metrics).splitlines() if 'handler="Reserve"' in line]
    histograms = sum(len(bounds) + 3 for bounds in (DURATION_BUCKETS_S, AGE_BUCKETS_S, WAIT_BUCKETS_S))
    counters = len(OUTCOMES) + len(REQUEUE_REASONS) + len(DEAD_LETTER_REASONS) + len(COMMANDS) + 3 + 2
    assert len(series) == histograms + counters + 5
    assert {label for line in series for label in re.findall(r'(\w+)="', line)} == {
        *LABELS,
        *("outcome", "reason", "error_type", "command", "le"),
    }


@pytest.mark.parametrize("method", ["processed", "requeued", "dead_lettered", "settle_failure"])
def test_a_value_outside_a_closed_set_is_a_mistake_of_ours(handler: HandlerMetrics, method: str) -> None:
    with pytest.raises(KeyError):
        getattr(handler, method)("nonsense")


def test_a_handler_is_registered_once(metrics: Metrics, handler: HandlerMetrics) -> None:
    assert metrics.for_handler("orders", "inventory", "Reserve") is handler
    assert len(metrics.summary()) == 1


def test_two_sets_of_metrics_share_nothing(metrics: Metrics, handler: HandlerMetrics) -> None:
    handler.received(1)
    other = Metrics()
    other.for_handler("orders", "inventory", "Reserve")
    assert _value(other, "nsqkit_messages_received_total") == 0


def test_the_summary_counts_only_failures_in_the_requeue_rate(
    metrics: Metrics, handler: HandlerMetrics
) -> None:
    for _ in range(8):
        handler.received(1)
    for outcome in ("success", "success", "success", "dead_letter", *["requeue"] * 4):
        handler.processed(outcome)
    for reason in ("error", "timeout", "shutdown", "requested"):
        handler.requeued(reason)
    (row,) = metrics.summary()
    assert (row.handler, row.topic, row.channel) == ("Reserve", "orders", "inventory")
    assert (row.received, row.success, row.requeued, row.dead_lettered) == (8, 3, 4, 1)
    assert row.requeue_rate_ratio == 0.25
    assert (row.given_back, row.discarded, row.lease_lost) == (2, 0, 0)


def test_the_summary_of_an_idle_handler_has_no_quantiles(metrics: Metrics, handler: HandlerMetrics) -> None:
    (row,) = metrics.summary()
    assert (row.requeue_rate_ratio, row.p50_s, row.p95_s, row.p99_s) == (0.0, None, None, None)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        pytest.param([], 0.5, None, id="nothing observed"),
        pytest.param([1.0], 1.0, 1.0, id="a value on a bound belongs to the bucket below it"),
        pytest.param([0.5], 0.5, 0.5, id="half of the first bucket, which begins at 0"),
        pytest.param([1.5] * 4, 0.25, 1.5, id="values that are all alike are told as they are"),
        pytest.param([1.0, 1.25, 1.75, 2.0], 0.75, 1.0 + 2 / 3, id="in between a straight line"),
        pytest.param([0.5, 3.0], 0.5, 1.0, id="exactly between two buckets is the lower one's end"),
        pytest.param([0.5, 3.0], 0.75, 2.5, id="empty buckets between are skipped"),
        pytest.param([100.0], 0.5, 100.0, id="above every bound is the largest value"),
        pytest.param([-5.0], 1.0, 0.0, id="a clock set back counts as zero"),
    ],
)
def test_quantile(values: list[float], share: float, expected: float | None) -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    for value in values:
        histogram.observe(value)
    assert histogram.snapshot().quantile(share) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, math.nan])
def test_quantile_refuses_a_share_outside_its_range(share: float) -> None:
    with pytest.raises(ValueError, match="is not in"):
        Histogram((1.0,)).snapshot().quantile(share)


@given(
    st.lists(st.floats(min_value=0, max_value=59.9), min_size=1, max_size=200),
    st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]),
)
def test_the_estimate_lies_in_the_bucket_of_the_true_quantile(values: list[float], share: float) -> None:
    histogram = Histogram(DURATION_BUCKETS_S)
    for value in values:
        histogram.observe(value)
    true = sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]
    upper = next(bound for bound in DURATION_BUCKETS_S if true <= bound)
    lower = max((bound for bound in DURATION_BUCKETS_S if bound < upper), default=0.0)
    estimate = histogram.snapshot().quantile(share)
    assert estimate is not None
    assert lower <= estimate <= upper


@given(st.lists(st.floats(min_value=0, max_value=1e6), max_size=100))
def test_quantiles_grow_with_their_share(values: list[float]) -> None:
    histogram = Histogram(DURATION_BUCKETS_S)
    for value in values:
        histogram.observe(value)
    estimates = [histogram.snapshot().quantile(share) or 0.0 for share in (0.1, 0.5, 0.95, 0.99, 1.0)]
    assert estimates == sorted(estimates)
