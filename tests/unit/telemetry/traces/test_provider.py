"""The provider of `nsqkit run`: what the variables of OpenTelemetry ask for, and who has asked before."""

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from nsqkit import SettingsError
from nsqkit.telemetry.traces.provider import configure


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The providers that are set as the global one."""
    providers: list[Any] = []
    monkeypatch.setattr(trace, "set_tracer_provider", providers.append)
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER"):
        monkeypatch.delenv(name, raising=False)
    return providers


def test_the_variables_decide(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "billing")
    configure(["otlp_proto_http"], "nsqkit", shutdown_on_exit=False)
    (provider,) = made
    assert "root:TraceIdRatioBased{0.25}" in provider.sampler.get_description()
    assert provider.resource.attributes["service.name"] == "billing"
    provider.shutdown()


def test_the_name_of_the_service_is_the_setting_by_default(made: list[Any]) -> None:
    configure(["console"], "shop", shutdown_on_exit=False)
    (provider,) = made
    assert provider.resource.attributes["service.name"] == "shop"
    provider.shutdown()


def test_what_the_program_has_configured_stays(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: TracerProvider(shutdown_on_exit=False))
    configure(["console"], "shop", shutdown_on_exit=False)
    assert made == []


def test_an_exporter_that_is_not_installed_is_named(made: list[Any]) -> None:
    with pytest.raises(
        SettingsError, match=r"'otlp_proto_grpc'.* install opentelemetry-exporter-otlp-proto-g"
    ):
        configure(["otlp_proto_grpc"], "shop", shutdown_on_exit=False)
    assert made == []
