"""OpenTelemetry's variables: which environment asks for which exporters."""

import pytest

from nsqkit import SettingsError
from nsqkit.policy.otel_variables import names_service, span_exporters

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({}, (), id="nothing asks"),
        pytest.param({"OTEL_SERVICE_NAME": "shop"}, (), id="a name asks for nothing"),
        pytest.param(ENDPOINT, ("otlp_proto_http",), id="an endpoint"),
        pytest.param({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, (), id="an empty endpoint"),
        pytest.param({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c"}, (), id="metrics alone"),
        pytest.param({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://c"}, (), id="logs alone"),
        pytest.param({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, ("otlp_proto_http",), id="traces"),
        pytest.param({"OTEL_TRACES_EXPORTER": "console"}, ("console",), id="another exporter"),
        pytest.param(
            {"OTEL_TRACES_EXPORTER": "otlp, console"}, ("otlp_proto_http", "console"), id="two exporters"
        ),
        pytest.param(ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, (), id="none in spite of an endpoint"),
        pytest.param(ENDPOINT | {"OTEL_SDK_DISABLED": "True"}, (), id="disabled"),
        pytest.param(ENDPOINT | {"OTEL_SDK_DISABLED": "false"}, ("otlp_proto_http",), id="not disabled"),
        pytest.param(
            ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ("otlp_proto_grpc",), id="a protocol"
        ),
        pytest.param(
            ENDPOINT
            | {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            ("otlp_proto_http",),
            id="the protocol of traces comes first",
        ),
    ],
)
def test_exporters(environ: dict[str, str], expected: tuple[str, ...]) -> None:
    assert span_exporters(environ) == expected


def test_a_protocol_that_is_not_known_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL='http/json': give one of http/pro"):
        span_exporters({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param({"OTEL_SERVICE_NAME": "shop"}, True, id="the variable of its own"),
        pytest.param({"OTEL_SERVICE_NAME": " "}, False, id="an empty one"),
        pytest.param({"OTEL_RESOURCE_ATTRIBUTES": "a=b, service.name=shop"}, True, id="a resource attribute"),
        pytest.param({"OTEL_RESOURCE_ATTRIBUTES": "service.namespace=x"}, False, id="another attribute"),
    ],
)
def test_the_service_may_be_named(environ: dict[str, str], expected: bool) -> None:  # noqa: FBT001
    assert names_service(environ) is expected
