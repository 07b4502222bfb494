"""Trace set-up: configures OpenTelemetry if its ``OTEL_*`` variables ask for traces."""

import os

from nsqkit.policy.otel_variables import span_exporters
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs


def configure_traces(settings: Settings) -> bool:
    """Configure OpenTelemetry in a program of your own, as ``nsqkit run`` does.

    The standard ``OTEL_*`` variables decide. Without one that asks for traces, nothing changes and nothing is
    imported. A provider that the program has set is used as it is. The last spans are exported when the
    process ends.

    Args:
        settings: The setting ``service`` names the service if no variable does.

    Returns:
        Whether traces are on: they are asked for, and the extra ``otel`` is installed.

    Raises:
        SettingsError: If the variables ask for what is not installed or not known.
    """
    return set_up(settings.service, shutdown_on_exit=True)


def set_up(service: str, *, shutdown_on_exit: bool) -> bool:
    """Configure OpenTelemetry if the environment asks for it, and return whether traces are on.

    Args:
        service: Name of the service if the environment names none.
        shutdown_on_exit: Whether the provider exports its last spans when the process ends. A worker exports
            them earlier, in less time.

    Raises:
        SettingsError: If the environment asks for what is not installed or not known.
    """
    exporters = span_exporters(os.environ)
    if not exporters:
        return False
    try:
        from nsqkit.telemetry.traces.provider import configure  # noqa: PLC0415 - an extra
    except ImportError:
        hint = "pip install 'nsqkit[otel]', or unset OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_*"
        logs.get_logger().warning("traces_unavailable", hint=hint)
        return False
    configure(exporters, service, shutdown_on_exit=shutdown_on_exit)
    return True
