"""OpenTelemetry's variables: which exporters of spans an environment asks for."""

from collections.abc import Mapping

from nsqkit.errors import SettingsError

_OTLP = "OTEL_EXPORTER_OTLP_"
_OTHER_SIGNALS = ("METRICS_", "LOGS_")
_BY_PROTOCOL = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


def span_exporters(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the exporters, as packages register them; empty if none is asked for.

    Args:
        environ: The variables of the environment. ``OTEL_TRACES_EXPORTER`` asks for exporters, and so does
            any ``OTEL_EXPORTER_OTLP_…`` that is not about metrics or logs.

    Raises:
        SettingsError: If the protocol of OTLP is not known.

    Source:
        OpenTelemetry's specification, "Environment Variable Specification".
    """
    values = {name: value.strip() for name, value in environ.items() if value.strip()}
    if values.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ()
    has_otlp = any(
        name.startswith(_OTLP) and not name.removeprefix(_OTLP).startswith(_OTHER_SIGNALS) for name in values
    )
    asked = values.get("OTEL_TRACES_EXPORTER", "otlp" if has_otlp else "none").split(",")
    names = [name.strip() for name in asked if name.strip() not in {"", "none"}]
    return tuple(_otlp(values) if name == "otlp" else name for name in names)


def names_service(environ: Mapping[str, str]) -> bool:
    """Return whether the environment names the service that its spans belong to."""
    given = environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    in_attributes = any(each.partition("=")[0].strip() == "service.name" for each in given)
    return bool(environ.get("OTEL_SERVICE_NAME", "").strip()) or in_attributes


def _otlp(values: Mapping[str, str]) -> str:
    for name in (f"{_OTLP}TRACES_PROTOCOL", f"{_OTLP}PROTOCOL"):
        if (protocol := values.get(name)) is None:
            continue
        if protocol not in _BY_PROTOCOL:
            raise SettingsError(f"{name}={protocol!r}: give one of {', '.join(_BY_PROTOCOL)}")
        return _BY_PROTOCOL[protocol]
    return _BY_PROTOCOL["http/protobuf"]
