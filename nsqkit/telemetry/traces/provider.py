"""Provider: configures OpenTelemetry as its standard ``OTEL_*`` variables ask."""

import os
from collections.abc import Sequence
from importlib.metadata import entry_points

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from nsqkit.errors import SettingsError
from nsqkit.policy.otel_variables import names_service

_EXPORTERS = "opentelemetry_traces_exporter"


def configure(exporters: Sequence[str], service: str, *, shutdown_on_exit: bool) -> None:
    """Set the global tracer provider, unless the program has set one already.

    The sampler, the resource, the limits of spans and the exporters follow their ``OTEL_*`` variables.

    Args:
        exporters: Names of exporters, as packages register them; one or more.
        service: Name of the service if the environment names none.
        shutdown_on_exit: Whether the provider exports its last spans at the end of the process, for which it
            may wait up to 30 s.

    Raises:
        SettingsError: If an exporter is not installed.
    """
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    made = [_exporter(name) for name in exporters]
    own = {} if names_service(os.environ) else {"service.name": service}
    provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=shutdown_on_exit)
    for each in made:
        provider.add_span_processor(BatchSpanProcessor(each))
    trace.set_tracer_provider(provider)


def _exporter(name: str) -> SpanExporter:
    for found in entry_points(group=_EXPORTERS, name=name):
        exporter: SpanExporter = found.load()()
        return exporter
    package = f"opentelemetry-exporter-{name.replace('_', '-')}"
    raise SettingsError(
        f"the OTEL_* variables ask for the exporter {name!r}, which is not installed: install {package}, "
        "or set OTEL_TRACES_EXPORTER=otlp with OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
    )
