"""The admin server over real sockets: what each page answers, and what happens without a port."""

import asyncio
import errno
import json
import socket
from collections.abc import AsyncIterator

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from nsqkit.admin import AdminServer
from nsqkit.metrics import Metrics
from nsqkit.policy.errors import SettingsError


class _Health:
    def __init__(self) -> None:
        self.alive = True
        self.missing: tuple[str, ...] = ()

    def live(self) -> bool:
        return self.alive

    def problems(self) -> tuple[str, ...]:
        return self.missing


@pytest.fixture
def health() -> _Health:
    return _Health()


@pytest.fixture
async def port(health: _Health) -> AsyncIterator[int]:
    metrics = Metrics()
    metrics.for_handler("orders", "inventory", "Reserve").received()
    server = AdminServer(metrics, health, "127.0.0.1", 0)
    yield await server.start()
    await server.stop()


async def _get(port: int, path: str, *, method: str = "GET", accept: str = "*/*") -> HTTPResponse:
    client = AsyncHTTPClient(force_instance=True)
    try:
        return await client.fetch(
            f"http://127.0.0.1:{port}{path}",
            method=method,
            headers={"Accept": accept},
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
        b'nsqkit_messages_received_total{channel="inventory",handler="Reserve",topic="orders"} 1.0'
        in response.body
    )


@pytest.mark.parametrize(
    ("alive", "code", "body"),
    [pytest.param(True, 200, b"ok\n", id="alive"), pytest.param(False, 503, b"not live\n", id="stuck")],
)
async def test_healthz(port: int, health: _Health, *, alive: bool, code: int, body: bytes) -> None:
    health.alive = alive
    response = await _get(port, "/healthz")
    assert (response.code, response.body) == (code, body)


async def test_readyz_when_nothing_is_missing(port: int) -> None:
    response = await _get(port, "/readyz")
    assert (response.code, response.body) == (200, b"ready\n")


async def test_readyz_names_one_problem_per_line(port: int, health: _Health) -> None:
    health.missing = ("nsqd a:4150: connection refused", "lookupd b:4161: timeout")
    response = await _get(port, "/readyz")
    assert response.code == 503
    assert response.body.decode().splitlines() == list(health.missing)


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


async def test_a_port_in_use_names_the_flag(port: int, health: _Health) -> None:
    with pytest.raises(SettingsError, match=rf"admin_port={port} is in use on 127\.0\.0\.1: .*--admin-port"):
        await AdminServer(Metrics(), health, "127.0.0.1", port).start()


async def test_an_address_of_another_machine_names_the_setting(health: _Health) -> None:
    with pytest.raises(SettingsError, match=r"admin_host='192\.0\.2\.1' cannot be listened on"):
        await AdminServer(Metrics(), health, "192.0.2.1", 0).start()


async def test_ipv6(health: _Health) -> None:
    server = AdminServer(Metrics(), health, "::1", 0)
    try:
        port = await server.start()
    except SettingsError:
        pytest.skip("no IPv6 here")
    with socket.create_connection(("::1", port), timeout=5):
        pass
    await server.stop()


async def test_the_port_is_free_after_stop(health: _Health) -> None:
    first = AdminServer(Metrics(), health, "127.0.0.1", 0)
    port = await first.start()
    await first.stop()
    await first.stop()
    second = AdminServer(Metrics(), health, "127.0.0.1", port)
    assert await second.start() == port
    await second.stop()


async def test_stop_before_start_does_nothing(health: _Health) -> None:
    await AdminServer(Metrics(), health, "127.0.0.1", 0).stop()


async def test_the_event_loops_lag_is_sampled_while_it_serves(
    health: _Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled = asyncio.Event()
    metrics = Metrics()
    monkeypatch.setattr(metrics, "event_loop_lag", lambda _seconds: sampled.set())
    server = AdminServer(metrics, health, "127.0.0.1", 0)
    await server.start()
    await asyncio.wait_for(sampled.wait(), 10)
    await server.stop()


async def test_a_port_that_needs_more_rights_says_so(
    health: _Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("socket.create_server", refuse)
    with pytest.raises(SettingsError, match=r"admin_port=80 needs more rights"):
        await AdminServer(Metrics(), health, "127.0.0.1", 80).start()
