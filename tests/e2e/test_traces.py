"""`nsqkit run` with the standard variables of OpenTelemetry, and a receiver of OTLP over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ANY_PORTS, NO_ADMIN, SAMPLE, Start
from tests.otlp import Receiver, receiving

ORDERS = 5
RUN = ("run", "handlers.orders", "--dev", *ANY_PORTS, *NO_ADMIN, "--exit-when-idle", "--log-format", "json")


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        yield receiver


@pytest.fixture
def feed(tmp_path: Path) -> str:
    file = tmp_path / "orders.jsonl"
    file.write_bytes(b"\n".join(SAMPLE.read_bytes().splitlines()[:ORDERS]))
    return f"orders={file}"


def test_an_endpoint_is_all_it_takes_and_the_last_span_arrives_before_the_end(
    receiver: Receiver, feed: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "warehouse")
    program = start(*RUN, "--feed", feed)
    assert program.wait() == 0, program.err
    received = sum(int(row["received"]) for row in program.rows.values())
    assert received >= 4 * ORDERS
    assert len(receiver.named("process orders", "warehouse")) == received
    channels = {span.fields["messaging.destination.subscription.name"] for span in receiver.spans}
    assert channels == {"inventory", "payments", "notify", "totals"}


@pytest.mark.parametrize(
    "variable", ["OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=none", "OTEL_TRACES_SAMPLER=always_off"]
)
def test_it_is_switched_off_by_a_variable(
    receiver: Receiver, feed: str, start: Start, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(*variable.split("="))
    program = start(*RUN, "--feed", feed)
    assert program.wait() == 0, program.err
    assert receiver.spans == []


def test_a_receiver_that_is_away_keeps_no_worker_from_its_work(
    feed: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    program = start(*RUN, "--feed", feed)
    assert program.wait() == 0, program.err


def test_a_wrong_variable_ends_the_run_before_it_begins(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "smoke")
    program = start(*RUN)
    assert program.wait() == 2
    assert "the exporter 'smoke', which is not installed" in program.err
