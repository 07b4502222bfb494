"""Traces of `nsqkit run`: only who asks for them by a variable, and has installed them, gets them."""

import sys

import pytest
from structlog.testing import capture_logs

from nsqkit import Extension, Settings, Traces
from nsqkit.process.traces import traced
from nsqkit.telemetry.traces import provider

SHOP = Settings(service="shop")


@pytest.fixture(autouse=True)
def _unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "configure", lambda *_, **__: None)
    for name in ("OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_variable_nothing_changes() -> None:
    own = Extension()
    assert traced([own], SHOP) == (own,)


@pytest.mark.parametrize("creator", ["link", "parent"])
def test_a_variable_puts_traces_around_all_others_and_a_setting_says_what_they_refer_to(
    monkeypatch: pytest.MonkeyPatch, creator: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    own = Extension()
    first, second = traced([own], Settings(service="shop", traces_creator=creator))
    assert isinstance(first, Traces)
    assert (first._has_parent, second) == (creator == "parent", own)


@pytest.mark.parametrize("given", [Traces, Traces(creator="parent")], ids=["the class", "an instance"])
def test_traces_of_the_setting_middleware_are_not_doubled(
    monkeypatch: pytest.MonkeyPatch, given: type[Traces] | Traces
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    assert traced([given], SHOP) == (given,)


def test_without_the_extra_the_worker_runs_without_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    for name in ("nsqkit.telemetry.traces", "nsqkit.telemetry.traces.provider"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with capture_logs() as lines:
        assert traced([], SHOP) == ()
    assert [line["event"] for line in lines] == ["traces_unavailable"]
