"""The paths of the monitor over real sockets: what is public, what needs the token, and what is refused."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from nsqkit import Settings
from nsqkit.dead_letters.store import Store
from nsqkit.monitor import pages
from tests.unit.admin.port import TOKEN
from tests.unit.dead_letters.letters import letter
from tests.unit.monitor.port import MonitorPort
from tests.unit.monitor.saga_bench import FakeReader, group
from tests.waiting import PATIENCE_S, turns

LOCAL = b"Host: localhost"
NOBODY = "127.0.0.1:1"
AUTHORIZED = b"Authorization: Bearer " + TOKEN
PAGE = files("nsqkit.monitor") / "page"
FILES = sorted(each.name for each in PAGE.iterdir())


@pytest.fixture
async def port() -> AsyncIterator[MonitorPort]:
    port = MonitorPort(TOKEN.decode())
    port.number = await port.server.start()
    yield port
    await port.server.stop()


@pytest.mark.parametrize("path", ["/", *(f"/monitor/{name}" for name in FILES)])
async def test_files_are_public_and_have_a_strict_policy(port: MonitorPort, path: str) -> None:
    answer = await port.ask(path, LOCAL)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    policy = re.search(rb"Content-Security-Policy: (.*)\r", head)
    assert policy is not None
    assert b"default-src 'none'" in policy[1]
    assert b"unsafe" not in policy[1]
    assert b"nosniff" in head
    assert body == (PAGE / (path.rpartition("/")[2] or "index.html")).read_bytes()


async def test_a_file_that_is_none_is_missing(port: MonitorPort) -> None:
    assert (await port.ask("/monitor/other.js", LOCAL)).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "path",
    [
        "/monitor/events",
        "/monitor/state",
        "/monitor/handlers/Charge",
        "/monitor/handlers/Charge/letters",
        "/monitor/sagas/Charge/o1",
        "/monitor/incident",
    ],
)
async def test_figures_need_the_token(port: MonitorPort, path: str) -> None:
    answer = await port.ask(path, LOCAL)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"Charge" not in answer


@pytest.mark.parametrize("path", ["/", "/monitor/events"])
async def test_another_host_is_refused(port: MonitorPort, path: str) -> None:
    assert (await port.ask(path, b"Host: evil.example", AUTHORIZED)).startswith(b"HTTP/1.1 403")


async def test_events_come_at_once_and_after_each_sample(port: MonitorPort) -> None:
    reader, writer = await port.connect()
    writer.write(b"\r\n".join((b"GET /monitor/events HTTP/1.1", LOCAL, AUTHORIZED, b"", b"")))
    async with asyncio.timeout(PATIENCE_S):
        assert b"text/event-stream" in await reader.readuntil(b"\r\n\r\n")
        first = await _event(reader)
        port.shop.run(1)
        second = await _event(reader)
    writer.close()
    assert second["second"] == first["second"] + 1
    assert [row["name"] for row in second["handlers"]] == ["Charge", "Notify"]


async def test_events_end_before_the_server_would_cut_them_off(
    port: MonitorPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser reports an answer without its last chunk as an error."""
    monkeypatch.setattr(pages, "EVENTS_S", 0.0)
    answer = await port.ask("/monitor/events", LOCAL, AUTHORIZED)
    assert answer.count(b"data: ") == 1
    assert answer.endswith(b"0\r\n\r\n")


async def test_one_screen_comes_with_the_next_sample(port: MonitorPort) -> None:
    asking = asyncio.create_task(port.ask("/monitor/state", LOCAL, AUTHORIZED))
    while not asking.done():
        port.shop.run(1)
        await turns()
    head, _, body = (await asking).partition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head
    assert [row["name"] for row in json.loads(body)["handlers"]] == ["Charge", "Notify"]


async def test_a_worker_that_stops_has_no_screen(port: MonitorPort) -> None:
    port.shop.monitor.stop()
    answer = await port.ask("/monitor/state", LOCAL, AUTHORIZED)
    assert answer.startswith(b"HTTP/1.1 503")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"message": "the worker stops"}


async def test_errors_of_a_handler(port: MonitorPort) -> None:
    port.shop.run(1, failed=1)
    answer = await port.ask("/monitor/handlers/Charge", LOCAL, AUTHORIZED)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["errors"][0]["type"] == "ConnectionRefusedError"
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["durations"] is None
    for duration_s in (0.1, 0.1, 0.4):
        port.shop.charge.duration(duration_s)
    answer = await port.ask("/monitor/handlers/Charge", LOCAL, AUTHORIZED)
    found = json.loads(answer.partition(b"\r\n\r\n")[2])["durations"]
    assert 0.05 < found["p50_s"] <= 0.1 < found["p95_s"] <= found["p99_s"] <= 0.4
    other = await port.ask("/monitor/handlers/Nobody", LOCAL, AUTHORIZED)
    assert other.startswith(b"HTTP/1.1 404")


async def test_a_timeline_of_any_key() -> None:
    port = MonitorPort(groups=[group(FakeReader())])
    port.number = await port.server.start()
    answer = await port.ask("/monitor/sagas/Ship/o%201", LOCAL)
    found = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (found["key"], found["moments"][0]["text"]) == ("o 1", "version 1 begun")
    for path in ("/monitor/sagas/Ship/%2F..%2Fo2", "/monitor/sagas/Other/o2"):
        missing = await port.ask(path, LOCAL)
        assert missing.startswith(b"HTTP/1.1 404")
        assert b"has no instance" in missing
    await port.server.stop()


async def test_an_incident_is_a_file_to_save(port: MonitorPort) -> None:
    answer = await port.ask("/monitor/incident", LOCAL, AUTHORIZED)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b'Content-Disposition: attachment; filename="incident.html"' in head
    assert b"Content-Security-Policy: sandbox; default-src 'none'; style-src 'sha256-" in head
    assert body.startswith(b"<!doctype html>")


class TestControl:
    """Pauses from the page: of this process, on loopback."""

    PAUSE = "/monitor/handlers/Reserve/pause"
    SAME = b"Origin: http://localhost"

    async def _token(self, port: MonitorPort) -> bytes:
        answer = await port.ask("/monitor/token", LOCAL, AUTHORIZED)
        token: str = json.loads(answer.partition(b"\r\n\r\n")[2])["token"]
        return b"X-Nsqkit-Page: " + token.encode()

    @pytest.mark.parametrize("command", ["pause", "resume"])
    async def test_the_page_changes_a_handler(self, port: MonitorPort, command: str) -> None:
        headers = (LOCAL, AUTHORIZED, self.SAME, await self._token(port), b"Content-Length: 0")
        answer = await port.ask(f"/monitor/handlers/Reserve/{command}", *headers, method=b"POST")
        assert answer.startswith(b"HTTP/1.1 200")
        assert port.worker.changes == 1

    @pytest.mark.parametrize(
        ("origin", "token", "reason"),
        [
            pytest.param(b"Origin: http://evil.example", None, b"another site", id="another site"),
            pytest.param(b"Origin: https://localhost", None, b"another site", id="another scheme"),
            pytest.param(b"Origin: null", None, b"another site", id="no origin"),
            pytest.param(b"Accept: */*", None, b"another site", id="not from a page"),
            pytest.param(SAME, b"X-Nsqkit-Page: other", b"reload", id="another token"),
            pytest.param(SAME, b"Accept: */*", b"reload", id="no token"),
        ],
    )
    async def test_nobody_else_does(
        self, port: MonitorPort, origin: bytes, token: bytes | None, reason: bytes
    ) -> None:
        headers = (LOCAL, AUTHORIZED, origin, token or await self._token(port), b"Content-Length: 0")
        answer = await port.ask(self.PAUSE, *headers, method=b"POST")
        assert answer.startswith(b"HTTP/1.1 403")
        assert reason in answer
        assert port.worker.changes == 0

    async def test_it_needs_the_admin_token_too(self, port: MonitorPort) -> None:
        headers = (LOCAL, self.SAME, await self._token(port), b"Content-Length: 0")
        assert (await port.ask(self.PAUSE, *headers, method=b"POST")).startswith(b"HTTP/1.1 401")
        assert (await port.ask("/monitor/token", LOCAL)).startswith(b"HTTP/1.1 401")

    async def test_beyond_loopback_the_page_is_read_only(self, port: MonitorPort) -> None:
        token = await self._token(port)
        port.access.listen("192.0.2.1")
        answer = await port.ask("/monitor/token", LOCAL, AUTHORIZED)
        assert answer.endswith(b'{"token": null}')
        headers = (LOCAL, AUTHORIZED, self.SAME, token, b"Content-Length: 0")
        answer = await port.ask(self.PAUSE, *headers, method=b"POST")
        assert answer.startswith(b"HTTP/1.1 403")
        assert b"read-only beyond loopback" in answer


class TestReplay:
    """Replays from the page: as pauses are, and only of the handler's own dead letters."""

    PATH = "/monitor/handlers/Charge/letters/1/replay"
    SAME = b"Origin: http://localhost"

    @pytest.fixture
    async def port(self, tmp_path: Path) -> AsyncIterator[MonitorPort]:
        path = tmp_path / "dead.sqlite"
        with Store(path, make=True) as store:
            store.add([letter(1, nsqd=NOBODY, detail="no answer for 4111111111111111")])
        settings = Settings(nsqd=(NOBODY,), dead_store=str(path), connect_timeout_s=1.0)
        port = MonitorPort(TOKEN.decode(), settings)
        port.number = await port.server.start()
        yield port
        await port.server.stop()

    async def _post(self, port: MonitorPort, *headers: bytes, path: str = PATH) -> bytes:
        return await port.ask(path, LOCAL, AUTHORIZED, *headers, b"Content-Length: 0", method=b"POST")

    async def _token(self, port: MonitorPort) -> bytes:
        answer = await port.ask("/monitor/token", LOCAL, AUTHORIZED)
        token: str = json.loads(answer.partition(b"\r\n\r\n")[2])["token"]
        return b"X-Nsqkit-Page: " + token.encode()

    async def test_the_list_has_no_secret_and_no_body(self, port: MonitorPort) -> None:
        answer = await port.ask("/monitor/handlers/Charge/letters", LOCAL, AUTHORIZED)
        found = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert (found["count"], found["letters"][0]["text"]) == (1, "no answer for [redacted]")
        assert b"order_id" not in answer
        other = await port.ask("/monitor/handlers/Nobody/letters", LOCAL, AUTHORIZED)
        assert other.startswith(b"HTTP/1.1 404")

    async def test_a_get_replays_nothing(self, port: MonitorPort) -> None:
        answer = await port.ask(self.PATH, LOCAL, AUTHORIZED, self.SAME, await self._token(port))
        assert answer.startswith(b"HTTP/1.1 405")
        assert b"Allow: POST" in answer

    @pytest.mark.parametrize(
        ("headers", "reason"),
        [
            pytest.param((b"Origin: http://evil.example",), b"another site", id="another site"),
            pytest.param((), b"another site", id="not from a page"),
            pytest.param((SAME, b"X-Nsqkit-Page: other"), b"reload", id="another token"),
            pytest.param((SAME,), b"reload", id="no token"),
        ],
    )
    async def test_nobody_else_replays(
        self, port: MonitorPort, headers: tuple[bytes, ...], reason: bytes
    ) -> None:
        answer = await self._post(port, *headers)
        assert answer.startswith(b"HTTP/1.1 403")
        assert reason in answer

    async def test_beyond_loopback_the_page_replays_nothing(self, port: MonitorPort) -> None:
        token = await self._token(port)
        port.access.listen("192.0.2.1")
        answer = await self._post(port, self.SAME, token)
        assert answer.startswith(b"HTTP/1.1 403")
        assert b"nsqkit dead replay" in answer

    @pytest.mark.parametrize(
        ("path", "status", "reason"),
        [
            pytest.param(PATH, b"503", b"not confirmed|refused", id="nsqd is gone"),
            pytest.param(PATH.replace("/1/", "/2/"), b"409", b"no dead letter 2", id="none of this number"),
            pytest.param(
                PATH.replace("Charge", "Notify"), b"409", b"of this handler", id="of another handler"
            ),
            pytest.param(PATH.replace("Charge", "Nobody"), b"404", b"no handler", id="no such handler"),
        ],
    )
    async def test_a_refusal_says_why(
        self, port: MonitorPort, path: str, status: bytes, reason: bytes
    ) -> None:
        answer = await self._post(port, self.SAME, await self._token(port), path=path)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert re.search(reason, answer)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".js", ".html"))])
def test_the_page_makes_no_markup_of_data(name: str) -> None:
    """Texts of errors are data: elements and text nodes only."""
    text = (PAGE / name).read_text()
    found = re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\bon[a-z]+=|style=", text
    )
    assert found == []
    assert re.findall(r"https?://(?!www\.w3\.org/)", text) == []


async def _event(reader: asyncio.StreamReader) -> dict[str, Any]:
    line = b""
    while not line.startswith(b"data: "):
        line = await reader.readline()
    found: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
    return found
