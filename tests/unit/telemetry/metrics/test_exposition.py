"""The exposition: two formats that Prometheus reads, in parts, at a bounded cost for each series."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from prometheus_client import parser
from prometheus_client.core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser

from nsqkit.handler.breaker import Breaker
from nsqkit.telemetry.metrics import FAMILIES, Exposition, Format, Metrics, Snapshot

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
HANDLERS = 200
MOST_CALLS_PER_SERIES = 0.7
"""Calls that a scrape of many handlers may make for each line; prometheus-client's own makes 65."""

MOST_CALLS_OF_PART = 40_000
SERIES_MORE = 50_000
MOST_BYTES_OF_PART = 150_000

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        pytest.param("", Format.TEXT, id="no header"),
        pytest.param("*/*", Format.TEXT, id="a browser or curl"),
        pytest.param(PROMETHEUS_2, Format.OPENMETRICS, id="Prometheus 2"),
        pytest.param(PROMETHEUS_3, Format.OPENMETRICS, id="Prometheus 3"),
        pytest.param("Application/OpenMetrics-Text", Format.OPENMETRICS, id="any version, in any case"),
        pytest.param("application/openmetrics-text; version=0.0.1", Format.TEXT, id="an older version"),
        pytest.param(
            "application/openmetrics-text;q=0.2,text/plain;version=0.0.4;q=0.3",
            Format.TEXT,
            id="the client prefers text",
        ),
        pytest.param("application/openmetrics-text;q=0", Format.TEXT, id="the client refuses OpenMetrics"),
        pytest.param("application/openmetrics-text;q=x", Format.TEXT, id="a weight that is no number"),
        pytest.param(";;,=,;q", Format.TEXT, id="rubbish"),
    ],
)
def test_the_client_chooses_the_format(accept: str, form: Format) -> None:
    assert Format.accepted(accept) is form


def filled(handlers: int = 2) -> Metrics:
    """Return metrics with a value in every family that needs no nsqd."""
    metrics = Metrics()
    for number in range(handlers):
        handler = metrics.for_handler(f"orders{number}", "inventory", f"Reserve{number}", max_in_flight=9)
        handler.kill_switch("closed")
        handler.received(3)
        handler.processed("success")
        handler.duration(0.004)
        handler.age(100_000.0)
    metrics.clock_skew("127.0.0.1:4151", -0.25)
    return metrics


def rendered(metrics: Metrics, form: Format) -> str:
    return b"".join(metrics.exposition(form)).decode()


def read(text: str, form: Format) -> dict[str, Metric]:
    """Return the families that prometheus-client reads, by name."""
    reads = openmetrics_parser if form is Format.OPENMETRICS else parser
    return {family.name: family for family in reads.text_string_to_metric_families(text)}


@pytest.mark.parametrize("form", Format)
def test_prometheus_reads_what_the_registry_has(form: Format) -> None:
    metrics = filled()
    shown = read(rendered(metrics, form), form)
    assert list(shown) == [name.removesuffix("_total") for name in FAMILIES]
    for known in metrics.registry.collect():
        found = shown[known.name]
        assert (found.type, found.documentation) == (known.type, known.documentation)
        if "_process_" not in known.name:  # CPU time goes on
            assert found.samples == known.samples


def test_openmetrics_names_counters_and_units_as_its_rules_say() -> None:
    text = rendered(filled(), Format.OPENMETRICS)
    assert "# TYPE nsqkit_messages_received counter\n" in text
    assert "# UNIT nsqkit_process_cpu_seconds seconds\n" in text
    assert "# UNIT nsqkit_process_resident_memory_bytes bytes\n" in text
    assert text.endswith("# EOF\n")


def test_text_has_nothing_that_only_openmetrics_knows() -> None:
    metrics = filled()
    metrics.for_handler("orders0", "inventory", "Reserve0").exemplar(TRACE_ID, 0.004, 1700000000.5)
    text = rendered(metrics, Format.TEXT)
    assert "# TYPE nsqkit_messages_received_total counter\n" in text
    assert not any(each in text for each in ("# UNIT", "# EOF", TRACE_ID))


def test_an_exemplar_is_shown_at_its_bucket() -> None:
    metrics = filled()
    handler = metrics.for_handler("orders0", "inventory", "Reserve0")
    handler.exemplar("f" * 32, 0.004, 1600000000.0)
    handler.exemplar(TRACE_ID, 0.0041, 1700000000.5)
    handler.exemplar(TRACE_ID, 100.0, 1700000000.5)
    shown = read(rendered(metrics, Format.OPENMETRICS), Format.OPENMETRICS)
    found = [each for each in shown["nsqkit_handler_duration_seconds"].samples if each.exemplar]
    assert [(each.labels["handler"], each.labels["le"]) for each in found] == [
        ("Reserve0", "0.005"),
        ("Reserve0", "+Inf"),
    ]
    exemplars = [each.exemplar for each in found if each.exemplar]
    assert [(each.labels, each.value) for each in exemplars] == [
        ({"trace_id": TRACE_ID}, 0.0041),
        ({"trace_id": TRACE_ID}, 100.0),
    ]
    assert [float(each.timestamp or 0) for each in exemplars] == [1700000000.5] * 2


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param('a "warehouse"', id="quotes"),
        pytest.param("back\\slash", id="a backslash"),
        pytest.param("two\nlines", id="a line break"),
        pytest.param("100 %s of %d", id="what a template would fill in"),
        pytest.param("größe", id="not ASCII"),
        pytest.param("{a=1}, b", id="braces and commas"),
    ],
)
def test_a_label_value_is_shown_as_it_is(form: Format, name: str) -> None:
    breaker = Breaker(name, failures=1)
    shown = read(rendered(Metrics(), form), form)
    assert breaker.name in {each.labels["dependency"] for each in shown["nsqkit_breaker_state"].samples}


def test_a_label_value_that_is_no_text_does_not_end_the_scrape() -> None:
    breaker = Breaker("\udc80", failures=1)
    assert breaker is not None
    assert 'dependency="?"' in rendered(Metrics(), Format.TEXT)


def test_templates_follow_the_labels() -> None:
    """Series come, go and change places between two scrapes."""
    metrics = filled()
    for skews in ({"a:1": 1.5}, {"a:1": 2.5, "b:1": 0.5}, {"b:1": 0.25}, {}, {"c:1": 1.0, "b:1": 2.0}):
        for nsqd in ("127.0.0.1:4151", "a:1", "b:1", "c:1"):
            metrics.clock_skew(nsqd, skews.get(nsqd))
        shown = read(rendered(metrics, Format.TEXT), Format.TEXT)["nsqkit_clock_skew_seconds"].samples
        assert {each.labels["nsqd"]: each.value for each in shown} == skews


def test_series_may_come_and_go_in_the_middle_of_a_scrape() -> None:
    metrics = Metrics()
    for number in range(2_000):
        metrics.clock_skew(f"{number}:1", 0.0)
    parts = metrics.exposition()
    assert (next(parts), next(parts)) == (b"", b"")
    metrics.clock_skew("0:1", None)
    metrics.clock_skew("late:1", 0.0)
    metrics.for_handler("orders", "late", "Late")
    text = b"".join(parts).decode()
    assert len(read(text, Format.TEXT)["nsqkit_clock_skew_seconds"].samples) == 2_000
    assert ("late:1" in text, 'handler="Late"' in text) == (False, False)
    text = rendered(metrics, Format.TEXT)
    assert ("late:1" in text, 'handler="Late"' in text) == (True, True)


def test_an_empty_snapshot_has_the_families_all_the_same() -> None:
    text = b"".join(Exposition().parts(Snapshot({}), Format.OPENMETRICS)).decode()
    assert set(read(text, Format.OPENMETRICS)) == {name.removesuffix("_total") for name in FAMILIES}


@contextmanager
def counting() -> Iterator[list[int]]:
    """Count the calls of this thread, of Python's own functions and of those of C."""
    calls = [0]

    def on_event(_frame: FrameType, kind: str, _argument: object) -> None:
        calls[0] += kind in {"call", "c_call"}

    gc.disable()
    sys.setprofile(on_event)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        gc.enable()


@pytest.mark.parametrize("form", Format)
def test_a_scrape_of_many_handlers_makes_few_calls(form: Format) -> None:
    metrics = filled(HANDLERS)
    series = rendered(metrics, form).count("\n")
    with counting() as calls:
        parts = list(metrics.exposition(form))
    assert sum(part.count(b"\n") for part in parts) == series > 100 * HANDLERS
    assert calls[0] / series < MOST_CALLS_PER_SERIES


@pytest.mark.parametrize("form", Format)
def test_a_scrape_of_many_handlers_comes_in_parts_of_bounded_work(form: Format) -> None:
    """The first scrape makes the templates, and so makes more calls than the second."""
    metrics = filled(HANDLERS)
    metrics.add_source(
        lambda: (("nsqkit_rdy", ("a", "b", "c", str(each)), each) for each in range(SERIES_MORE))
    )
    for _ in range(2):
        left = metrics.exposition(form)
        parts: list[bytes | None] = []
        while not parts or parts[-1] is not None:
            with counting() as calls:
                parts.append(next(left, None))
            assert calls[0] <= MOST_CALLS_OF_PART
        assert max(len(part or b"") for part in parts) < MOST_BYTES_OF_PART
