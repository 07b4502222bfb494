"""Traces: OpenTelemetry spans of published and handled messages. Needs the extra ``nsqkit[otel]``."""

try:
    import opentelemetry.sdk.trace  # noqa: F401 - an extra: say once what to install
except ImportError as error:
    raise ImportError("traces need OpenTelemetry: pip install 'nsqkit[otel]'") from error

from nsqkit.telemetry.traces.extension import Traces

__all__ = ["Traces"]
