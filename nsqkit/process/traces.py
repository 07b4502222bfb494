"""Traces of `nsqkit run`: the extension, if the standard ``OTEL_*`` variables ask for it."""

import os
from collections.abc import Sequence

from nsqkit.handler.extension import Layer
from nsqkit.policy.otel_variables import span_exporters
from nsqkit.telemetry import logs


def traced(middleware: Sequence[Layer], service: str) -> tuple[Layer, ...]:
    """Return the layers of a worker with traces around them, if the environment asks for traces.

    Args:
        middleware: The layers of the worker, outermost first; one of them may make traces already.
        service: Name of the service if the environment names none.

    Raises:
        SettingsError: If the environment asks for what is not installed or not known.
    """
    exporters = span_exporters(os.environ)
    if not exporters:
        return tuple(middleware)
    try:
        from nsqkit.telemetry.traces import Traces  # noqa: PLC0415 - an extra
        from nsqkit.telemetry.traces.provider import configure  # noqa: PLC0415
    except ImportError:
        hint = "pip install 'nsqkit[otel]', or unset OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_*"
        logs.get_logger().warning("traces_unavailable", hint=hint)
        return tuple(middleware)
    configure(exporters, service)
    has_traces = any(each is Traces or isinstance(each, Traces) for each in middleware)
    return tuple(middleware) if has_traces else (Traces(), *middleware)
