"""Traces of `nsqkit run`: only who asks for them by a variable, and has installed them, gets them."""

import importlib
import sys
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from nsqkit import Extension, SettingsError, Traces
from nsqkit.process.traces import traced
from nsqkit.telemetry.traces import provider


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[str], str]]:
    """The exporters and the service that a provider was configured with."""
    found: list[tuple[Sequence[str], str]] = []
    monkeypatch.setattr(provider, "configure", lambda *given: found.append(given))
    for name in ("OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return found


Configured = list[tuple[Sequence[str], str]]


def test_without_a_variable_nothing_changes(configured: Configured) -> None:
    own = Extension()
    assert traced([own], "shop") == (own,)
    assert configured == []


def test_a_variable_puts_traces_around_all_others(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    own = Extension()
    first, second = traced([own], "shop")
    assert (type(first), second) == (Traces, own)
    assert configured == [(("otlp_proto_http",), "shop")]


@pytest.mark.parametrize("given", [Traces, Traces(creator="parent")], ids=["the class", "an instance"])
def test_traces_of_the_setting_middleware_are_not_doubled(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, given: type[Traces] | Traces
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    assert traced([given], "shop") == (given,)
    assert configured == [(("console",), "shop")]


def test_without_the_extra_it_says_what_to_install(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.delitem(sys.modules, "nsqkit.telemetry.traces")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with capture_logs() as lines:
        assert traced([], "shop") == ()
    ((line,),) = [lines]
    assert line["event"] == "traces_unavailable"
    assert "nsqkit[otel]" in line["hint"]


def test_without_the_extra_an_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nsqkit.telemetry.traces")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ImportError, match=r"pip install 'nsqkit\[otel\]'"):
        importlib.import_module("nsqkit.telemetry.traces")


def test_a_wrong_variable_is_an_error(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke")
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_PROTOCOL"):
        traced([], "shop")
