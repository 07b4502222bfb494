"""The admin server over real sockets: what each page answers, and what happens without a port."""

import asyncio
import errno
import itertools
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from nsqkit import Settings
from nsqkit.admin import Access, AdminServer, HandlerState, IntakeState
from nsqkit.errors import SettingsError
from nsqkit.telemetry.metrics import Format, Metrics
from tests.unit.runtime.bench import RecordingLog
from tests.waiting import PATIENCE_S


class _Health:
    def __init__(self) -> None:
        self.missing: tuple[str, ...] = ()
        self.found: tuple[str, ...] = ()

    def faults(self) -> tuple[str, ...]:
        return self.found

    def problems(self) -> tuple[str, ...]:
        return self.missing


class _Handlers:
    """A worker of two handlers, which remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, float | None]] = []
        self.problems: tuple[str, ...] = ("not connected",)

    def handler_states(self) -> tuple[HandlerState, ...]:
        resting = IntakeState.PAUSED if self.told else IntakeState.RUNNING
        return (
            HandlerState("Reserve", "orders", "inventory", 3, 100, resting),
            HandlerState("Notify", "orders", "notify", 0, 8, IntakeState.HALF_OPEN, 1.5, self.problems),
        )

    def pause_handler(self, name: str, for_s: float | None) -> bool:
        self.told.append(("pause", name, for_s))
        return name == "Reserve"

    def resume_handler(self, name: str) -> bool:
        self.told.append(("resume", name, None))
        return name == "Reserve"


@pytest.fixture
def health() -> _Health:
    return _Health()


@pytest.fixture
def handlers() -> _Handlers:
    return _Handlers()


@pytest.fixture
async def port(health: _Health, handlers: _Handlers) -> AsyncIterator[int]:
    metrics = Metrics()
    metrics.for_handler("orders", "inventory", "Reserve").received(1)
    server = AdminServer(metrics, health, "127.0.0.1", 0, handlers=handlers, access=_access())
    yield await server.start()
    await server.stop()


def _server(health: _Health, *, host: str = "127.0.0.1", port: int = 0) -> AdminServer:
    return AdminServer(Metrics(), health, host, port, handlers=_Handlers(), access=_access())


def _access(**settings: Any) -> Access:
    return Access(Settings(**settings), RecordingLog())


async def _get(
    port: int,
    path: str,
    *,
    method: str = "GET",
    accept: str = "*/*",
    origin: str | None = None,
    host: str | None = None,
) -> HTTPResponse:
    client = AsyncHTTPClient(force_instance=True)
    try:
        return await client.fetch(
            f"http://127.0.0.1:{port}{path}",
            method=method,
            headers={"Accept": accept}
            | ({"Origin": origin} if origin else {})
            | ({"Host": host} if host else {}),
            raise_error=False,
            allow_nonstandard_methods=True,
        )
    finally:
        client.close()


async def test_metrics_are_prometheus_text(port: int) -> None:
    response = await _get(port, "/metrics")
    assert response.code == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert (
        b'nsqkit_messages_received_total{topic="orders",channel="inventory",handler="Reserve"} 1\n'
        in response.body
    )


async def test_metrics_are_openmetrics_for_a_client_that_asks_for_it(port: int) -> None:
    response = await _get(port, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert response.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert response.body.endswith(b"# EOF\n")


async def test_the_event_loop_turns_between_two_parts_of_the_metrics(
    health: _Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[int] = []

    def parts(_form: Format) -> Iterator[bytes]:
        for number in range(3):
            asyncio.get_running_loop().call_soon(turns.append, number)
            yield b"part\n"
            assert turns[-1] == number

    metrics = Metrics()
    monkeypatch.setattr(metrics, "exposition", parts)
    server = AdminServer(metrics, health, "127.0.0.1", 0, handlers=_Handlers(), access=_access())
    assert (await _get(await server.start(), "/metrics")).body == b"part\n" * 3
    await server.stop()


async def test_a_client_that_leaves_in_the_middle_of_the_metrics_is_no_error(
    health: _Health, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left = asyncio.Event()

    def parts(_form: Format) -> Iterator[bytes]:
        try:
            yield from itertools.repeat(b"part\n" * 100_000)
        finally:
            left.set()

    metrics = Metrics()
    monkeypatch.setattr(metrics, "exposition", parts)
    server = AdminServer(metrics, health, "127.0.0.1", 0, handlers=_Handlers(), access=_access())
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.start())
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await reader.readuntil(b"part")
    writer.transport.abort()
    await asyncio.wait_for(left.wait(), PATIENCE_S)
    await server.stop()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_healthz_when_there_is_no_fault(port: int) -> None:
    response = await _get(port, "/healthz")
    assert (response.code, response.body) == (200, b"ok\n")


async def test_healthz_names_one_fault_per_line(port: int, health: _Health) -> None:
    health.found = ("'polls' has died", "'RDY' has died")
    response = await _get(port, "/healthz")
    assert (response.code, response.body.decode().splitlines()) == (503, list(health.found))


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/handlers"])
async def test_no_secret_is_shown_whoever_reports_it(
    port: int, health: _Health, handlers: _Handlers, path: str
) -> None:
    health.found = health.missing = handlers.problems = ("nsqd a:4150: password=hush-hush refused",)
    body = (await _get(port, path)).body.decode()
    assert "nsqd a:4150: password=" in body
    assert "hush-hush" not in body


async def test_readyz_when_nothing_is_missing(port: int) -> None:
    response = await _get(port, "/readyz")
    assert (response.code, response.body) == (200, b"ready\n")


async def test_readyz_names_one_problem_per_line(port: int, health: _Health) -> None:
    health.missing = ("nsqd a:4150: connection refused", "lookupd b:4161: timeout")
    response = await _get(port, "/readyz")
    assert response.code == 503
    assert response.body.decode().splitlines() == list(health.missing)


async def test_readyz_names_a_hundred_problems_at_most(port: int, health: _Health) -> None:
    health.missing = tuple(f"nsqd {number}:4150: connection refused" for number in range(2000))
    lines = (await _get(port, "/readyz")).body.decode().splitlines()
    assert lines == [*health.missing[:100], "and 1900 more"]


@pytest.mark.parametrize("missing", [(), ("nsqd a:4150: connection refused",)])
async def test_readyz_answers_json_on_request(port: int, health: _Health, missing: tuple[str, ...]) -> None:
    health.missing = missing
    response = await _get(port, "/readyz", accept="application/json")
    assert response.headers["Content-Type"].startswith("application/json")
    assert json.loads(response.body) == {"ready": not missing, "problems": list(missing)}


@pytest.mark.parametrize(
    ("path", "method", "code"),
    [
        pytest.param("/", "GET", 404, id="no such page"),
        pytest.param("/metrics/x", "GET", 404, id="nothing below a page"),
        pytest.param("/nothing", "POST", 404, id="no such page, by another method"),
        pytest.param("/metrics", "POST", 405, id="pages are only read"),
        pytest.param("/handlers/Reserve/pause", "GET", 405, id="what changes something is posted"),
        pytest.param("/handlers/Reserve/stop", "POST", 404, id="no such command"),
    ],
)
async def test_everything_else_is_refused_in_one_plain_line(
    port: int, path: str, method: str, code: int
) -> None:
    response = await _get(port, path, method=method)
    assert response.code == code
    assert "/readyz" in response.body.decode()
    assert response.body.count(b"\n") == 1
    assert "Server" not in response.headers


async def test_handlers_are_shown_as_they_run(port: int) -> None:
    response = await _get(port, "/handlers")
    assert response.headers["Content-Type"].startswith("application/json")
    reserve, notify = json.loads(response.body)["handlers"]
    assert reserve == {
        "name": "Reserve",
        "topic": "orders",
        "channel": "inventory",
        "held": 3,
        "max_in_flight": 100,
        "state": "running",
        "remaining_s": None,
        "ready": True,
        "problems": [],
        "lost_slots": 0,
        "has_producer": None,
        "paused_in_nsqd": None,
        "stalled_in_nsqd": [],
        "lag": None,
        "last_error": "",
    }
    assert (notify["state"], notify["remaining_s"], notify["ready"]) == ("half_open", 1.5, False)
    assert notify["problems"] == ["not connected"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        pytest.param("/handlers/Reserve/pause", ("pause", "Reserve", None), id="until it is resumed"),
        pytest.param("/handlers/Reserve/pause?for_s=1.5", ("pause", "Reserve", 1.5), id="for some time"),
        pytest.param("/handlers/Reserve/resume", ("resume", "Reserve", None), id="resume"),
    ],
)
async def test_a_handler_is_paused_and_resumed_and_then_shown(
    port: int, handlers: _Handlers, path: str, told: tuple[str, str, float | None]
) -> None:
    response = await _get(port, path, method="POST")
    assert response.code == 200
    assert handlers.told == [told]
    (shown,) = json.loads(response.body)["handlers"]
    assert (shown["name"], shown["state"]) == ("Reserve", "paused")


@pytest.mark.parametrize("command", ["pause", "resume"])
async def test_a_handler_that_does_not_run_here_is_answered_with_those_that_do(
    port: int, command: str
) -> None:
    response = await _get(port, f"/handlers/Reserv%C3%A9/{command}", method="POST")
    assert response.code == 404
    assert json.loads(response.body) == {
        "message": "there is no handler 'Reservé' here; the handlers are: Reserve, Notify"
    }


@pytest.mark.parametrize("for_s", ["0", "-1", "nan", "inf", "604801", "soon", ""])
async def test_a_time_that_cannot_be_meant_is_refused(port: int, handlers: _Handlers, for_s: str) -> None:
    response = await _get(port, f"/handlers/Reserve/pause?for_s={for_s}", method="POST")
    assert response.code == 400
    assert json.loads(response.body) == {"message": f"for_s={for_s!r}: give seconds above 0, at most 604800"}
    assert handlers.told == []


@pytest.mark.parametrize("origin", ["https://example.org", "null"])
@pytest.mark.parametrize("command", ["pause", "resume"])
async def test_a_web_page_cannot_stop_a_worker(
    port: int, handlers: _Handlers, origin: str, command: str
) -> None:
    response = await _get(port, f"/handlers/Reserve/{command}", method="POST", origin=origin)
    assert response.code == 403
    assert "Origin" in json.loads(response.body)["message"]
    assert handlers.told == []


@pytest.mark.parametrize(
    ("host", "token", "statuses"),
    [
        pytest.param("127.0.0.1", None, [200, 200, 200, 200, 200, 404], id="loopback"),
        pytest.param("localhost", None, [200, 200, 200, 200, 200, 404], id="loopback by its name"),
        pytest.param("0.0.0.0", None, [200, 200, 403, 403, 403, 403], id="beyond it"),  # noqa: S104 - is tested
        pytest.param("0.0.0.0", "s3cret", [200, 200, 401, 401, 401, 401], id="with a token"),  # noqa: S104
    ],
)
async def test_beyond_loopback_all_but_health_needs_a_token(
    health: _Health, handlers: _Handlers, host: str, token: str | None, statuses: list[int]
) -> None:
    """The address of the server decides, not that of the client: behind a proxy all clients are local."""
    access = _access(admin_token=token)
    server = AdminServer(Metrics(), health, host, 0, handlers=handlers, access=access)
    port = await server.start()
    paths = ("/healthz", "/readyz", "/metrics", "/handlers", "/handlers/Reserve/pause", "/nothing")
    answers = [(await _get(port, path, method="POST" if "pause" in path else "GET")).code for path in paths]
    await server.stop()
    assert answers == statuses
    assert bool(handlers.told) is (host != "0.0.0.0")  # noqa: S104


async def test_a_web_page_may_look(port: int) -> None:
    assert (await _get(port, "/handlers", origin="https://example.org")).code == 200


async def test_a_port_in_use_names_the_flag(port: int, health: _Health) -> None:
    with pytest.raises(SettingsError, match=rf"admin_port={port} is in use on 127\.0\.0\.1: .*--admin-port"):
        await _server(health, port=port).start()


async def test_an_address_of_another_machine_names_the_setting(health: _Health) -> None:
    with pytest.raises(SettingsError, match=r"cannot listen on admin_host='192\.0\.2\.1'"):
        await _server(health, host="192.0.2.1").start()


async def test_ipv6(health: _Health) -> None:
    server = _server(health, host="::1")
    try:
        port = await server.start()
    except SettingsError:
        pytest.skip("no IPv6 here")
    with socket.create_connection(("::1", port), timeout=PATIENCE_S):
        pass
    await server.stop()


async def test_the_port_is_free_after_stop(health: _Health) -> None:
    first = _server(health)
    port = await first.start()
    await first.stop()
    await first.stop()
    second = _server(health, port=port)
    assert await second.start() == port
    await second.stop()


async def test_stop_before_start_does_nothing(health: _Health) -> None:
    await _server(health).stop()


async def test_the_event_loops_lag_is_sampled_while_it_serves(
    health: _Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled = asyncio.Event()
    metrics = Metrics()
    monkeypatch.setattr(metrics, "event_loop_lag", lambda _seconds: sampled.set())
    server = AdminServer(metrics, health, "127.0.0.1", 0, handlers=_Handlers(), access=_access())
    await server.start()
    await asyncio.wait_for(sampled.wait(), PATIENCE_S)
    await server.stop()


async def test_a_port_that_needs_more_rights_says_so(
    health: _Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("socket.create_server", refuse)
    with pytest.raises(SettingsError, match=r"admin_port=80 needs more rights"):
        await _server(health, port=80).start()
