"""Trace set-up: variables ask for traces, and an error names the extra if it is not installed."""

import importlib
import sys
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from nsqkit import Settings, SettingsError, configure_traces
from nsqkit.telemetry.trace_setup import set_up
from nsqkit.telemetry.traces import provider

SHOP = Settings(service="shop")
Configured = list[tuple[Sequence[str], str, bool]]


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Configured:
    """The exporters and the service that a provider was configured with, and whether it ends at exit."""
    found: Configured = []

    def configure(exporters: Sequence[str], service: str, *, shutdown_on_exit: bool) -> None:
        found.append((exporters, service, shutdown_on_exit))

    monkeypatch.setattr(provider, "configure", configure)
    for name in ("OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return found


def test_without_a_variable_nothing_is_configured(configured: Configured) -> None:
    assert configure_traces(SHOP) is False
    assert configured == []


def test_a_program_exports_its_last_spans_at_its_end_and_a_worker_does_so_itself(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    assert configure_traces(SHOP) is True
    assert set_up("worker", shutdown_on_exit=False) is True
    assert configured == [(("otlp_proto_http",), "shop", True), (("otlp_proto_http",), "worker", False)]


def test_without_the_extra_it_says_what_to_install(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    _forget_traces(monkeypatch)
    with capture_logs() as lines:
        assert configure_traces(SHOP) is False
    ((line,),) = [lines]
    assert line["event"] == "traces_unavailable"
    assert "nsqkit[otel]" in line["hint"]
    assert configured == []


def test_without_the_extra_an_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _forget_traces(monkeypatch)
    with pytest.raises(ImportError, match=r"pip install 'nsqkit\[otel\]'"):
        importlib.import_module("nsqkit.telemetry.traces")


def test_a_wrong_variable_is_an_error(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke")
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_PROTOCOL"):
        configure_traces(SHOP)
    assert configured == []


def _forget_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the extra be missing."""
    for name in ("nsqkit.telemetry.traces", "nsqkit.telemetry.traces.provider"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
