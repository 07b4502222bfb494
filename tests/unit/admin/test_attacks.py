"""The admin port under requests that no browser and no probe sends, byte for byte over raw sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from nsqkit.admin import http_server
from nsqkit.telemetry.metrics import Metrics
from tests.unit.admin.port import TOKEN, Port

AUTHORIZED = b"Authorization: Bearer " + TOKEN
LOCAL = b"Host: localhost"
ANY_MESSAGE = b"HTTP/1.1 "
READ = ("/metrics", "/healthz", "/readyz", "/handlers")
CHANGE = ("/handlers/Reserve/pause", "/handlers/Reserve/resume")
HEALTH = ("/healthz", "/readyz")
SECRETS = (b"Reserve", b"nsqkit_")
"""Parts of every page that needs a token."""


def status(answer: bytes) -> int:
    """Return the status of an answer; 0 for none."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    port = Port()
    port.number = await port.server.start()
    yield port
    await port.server.stop()


class TestAuthorization:
    """Whether a request has the token."""

    @pytest.mark.parametrize("path", READ)
    async def test_with_it_every_page_is_answered(self, port: Port, path: str) -> None:
        assert status(await port.ask(path, LOCAL, AUTHORIZED)) == 200

    @pytest.mark.parametrize("path", CHANGE)
    async def test_with_it_a_handler_is_changed(self, port: Port, path: str) -> None:
        answer = await port.ask(path, LOCAL, AUTHORIZED, b"Content-Length: 0", method=b"POST")
        assert (status(answer), port.worker.changes) == (200, 1)

    @pytest.mark.parametrize("path", HEALTH)
    async def test_health_needs_none_and_minds_no_wrong_one(self, port: Port, path: str) -> None:
        assert status(await port.ask(path, LOCAL)) == 200
        assert status(await port.ask(path, LOCAL, b"Authorization: Bearer other")) == 200

    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param([], id="none"),
            pytest.param([b"Authorization:"], id="an empty one"),
            pytest.param([b"Authorization: Bearer"], id="no token"),
            pytest.param([b"Authorization: Bearer other"], id="another token"),
            pytest.param([b"Authorization: " + TOKEN], id="no scheme"),
            pytest.param([b"Authorization: Basic " + TOKEN], id="another scheme"),
            pytest.param([b"Authorization: Bearer " + TOKEN.upper()], id="in upper case"),
            pytest.param([b"Authorization: Bearer " + TOKEN + b"\xc3\xa9"], id="a letter beyond ASCII"),
            pytest.param([b"Authorization: Bearer \xff\xfe\x80"], id="no text at all"),
            pytest.param([b"Authorization: Bearer " + TOKEN + b"\x00"], id="a zero byte"),
            pytest.param([AUTHORIZED, AUTHORIZED], id="twice the right one"),
            pytest.param([b"Authorization: Bearer other", AUTHORIZED], id="a wrong and the right one"),
            pytest.param([AUTHORIZED, b"Authorization: Basic eA=="], id="two schemes"),
            pytest.param([b"Authorization: Bearer other, Bearer " + TOKEN], id="two in one header"),
            pytest.param([b"Proxy-Authorization: Bearer " + TOKEN], id="another header"),
            pytest.param([b"Cookie: admin_token=" + TOKEN], id="a cookie"),
            pytest.param([b"Authorization: Bearer", b" " + TOKEN], id="a folded line"),
            pytest.param([b"Authorization : Bearer " + TOKEN], id="a space before the colon"),
        ],
    )
    async def test_anything_else_is_no_token(self, port: Port, headers: Sequence[bytes]) -> None:
        for path in ("/metrics", "/handlers", "/nothing"):
            answer = await port.ask(path, LOCAL, *headers)
            assert status(answer) in {400, 401}
            assert not any(part in answer for part in SECRETS)
        for path in CHANGE:
            answer = await port.ask(path, LOCAL, *headers, b"Content-Length: 0", method=b"POST")
            assert status(answer) in {400, 401}
        assert port.worker.changes == 0

    async def test_a_token_in_the_address_is_none(self, port: Port) -> None:
        for query in (b"admin_token=", b"access_token=", b"token="):
            assert status(await port.ask(f"/metrics?{(query + TOKEN).decode()}", LOCAL)) == 401

    @pytest.mark.parametrize(("path", "method"), [("/metrics", b"GET"), (CHANGE[0], b"POST")])
    async def test_a_refusal_names_the_scheme_and_shows_no_token(
        self, port: Port, path: str, method: bytes
    ) -> None:
        headers = (LOCAL, b"Authorization: Bearer other", b"Content-Length: 0")
        answer = await port.ask(path, *headers, method=method)
        assert b'www-authenticate: bearer realm="nsqkit"' in answer.lower()
        assert b"admin_token" in answer
        assert TOKEN not in answer

    async def test_a_hundred_thousand_guesses_on_one_connection_are_one(self, port: Port) -> None:
        guess = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %d\r\n\r\n"
        answer = await port.send(b"".join(guess % number for number in range(100_000)))
        assert answer.count(ANY_MESSAGE) <= 1


class TestHost:
    """Which server a request says it wants, against DNS rebinding."""

    @pytest.mark.parametrize(
        "host",
        [
            b"localhost",
            b"LOCALHOST:9464",
            b"LocalHost.",
            b"127.0.0.1",
            b"10.1.2.3:80",
            b"[::1]",
            b"[FE80::1]:9464",
            b"worker.example.com",
            b"WORKER.Example.com.:9464",
        ],
    )
    async def test_addresses_and_known_names_pass(self, port: Port, host: bytes) -> None:
        assert status(await port.ask("/readyz", b"Host: " + host)) == 200

    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param([], id="none"),
            pytest.param([b"Host:"], id="an empty one"),
            pytest.param([b"Host: evil.example"], id="the name of a web site"),
            pytest.param([b"Host: EVIL.example:9464"], id="with a port"),
            pytest.param([b"Host: evil.example."], id="with a dot at the end"),
            pytest.param([b"Host: localhost.evil.example"], id="a name that begins well"),
            pytest.param([b"Host: evil.worker.example.com"], id="a name that ends well"),
            pytest.param([b"Host: evil"], id="a name without a dot"),
            pytest.param([b"Host: localhost@evil.example"], id="a user's name"),
            pytest.param([b"Host: localhost/evil.example"], id="a path"),
            pytest.param([b"Host: localhost evil.example"], id="a space"),
            pytest.param([b"Host: localhost:x"], id="no port"),
            pytest.param([b"Host: http://localhost"], id="a scheme"),
            pytest.param([b"Host: ::1"], id="IPv6 without brackets"),
            pytest.param([b"Host: [::1].evil.example"], id="IPv6 and a name"),
            pytest.param([b"Host: [localhost]"], id="a name in brackets"),
            pytest.param([b"Host: 0x7f000001"], id="an address that only browsers know"),
            pytest.param([b"Host: localhost\xc3\xa9"], id="beyond ASCII"),
            pytest.param([b"Host: localhost, evil.example"], id="two in one header"),
            pytest.param([LOCAL, LOCAL], id="twice the same"),
            pytest.param([LOCAL, b"Host: evil.example"], id="a good one, then a bad one"),
            pytest.param([b"Host: evil.example", LOCAL], id="a bad one, then a good one"),
            pytest.param([b"X-Forwarded-Host: localhost", b"Host: evil.example"], id="a proxy's header"),
            pytest.param([b"Host: evil.example", b"X-Host: localhost"], id="any other header"),
        ],
    )
    @pytest.mark.parametrize("path", READ)
    async def test_anything_else_is_refused(self, port: Port, path: str, headers: Sequence[bytes]) -> None:
        answer = await port.ask(path, *headers, AUTHORIZED)
        assert status(answer) in {400, 403}
        assert not any(part in answer for part in SECRETS)

    @pytest.mark.parametrize(
        "target",
        [
            "http://evil.example/metrics",
            "http://localhost/metrics",
            "//evil.example/metrics",
            "evil.example:80",
            "*",
            "/metrics/../handlers",
            "/%6detrics",
            "/metrics%00",
            "/METRICS",
            "/metrics/",
            "",
        ],
    )
    async def test_another_form_of_a_target_leads_to_no_page(self, port: Port, target: str) -> None:
        answer = await port.ask(target, LOCAL, AUTHORIZED)
        assert status(answer) in {400, 404}
        assert not any(part in answer for part in SECRETS)

    async def test_a_probe_by_http_1_0_names_no_host(self, port: Port) -> None:
        assert status(await port.ask("/readyz", version=b"HTTP/1.0")) == 200

    async def test_a_refusal_shows_a_name_that_moves_no_cursor_and_is_short(self, port: Port) -> None:
        answer = await port.ask("/readyz", b"Host: " + b"evil" * 3000)
        assert status(answer) == 403
        assert len(answer) < 1500


class TestMethods:
    """Nothing is changed but by POST, on a page that changes something."""

    @pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"PATCH"])
    @pytest.mark.parametrize("path", CHANGE)
    async def test_other_methods_change_nothing(self, port: Port, path: str, method: bytes) -> None:
        answer = await port.ask(path, LOCAL, AUTHORIZED, b"Content-Length: 0", method=method)
        assert status(answer) == 405
        assert b"Allow: POST\r\n" in answer
        assert port.worker.changes == 0

    @pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS", b"POST", b"PUT", b"DELETE", b"PATCH"])
    @pytest.mark.parametrize("path", READ)
    async def test_pages_are_only_read(self, port: Port, path: str, method: bytes) -> None:
        answer = await port.ask(path, LOCAL, AUTHORIZED, b"Content-Length: 0", method=method)
        assert status(answer) == 405
        assert b"Allow: GET\r\n" in answer

    @pytest.mark.parametrize("method", [b"TRACE", b"CONNECT", b"BREW", b"get", b"POST\t", b"\x00"])
    @pytest.mark.parametrize("path", [*READ, *CHANGE])
    async def test_what_is_no_method_of_ours_is_refused(self, port: Port, path: str, method: bytes) -> None:
        answer = await port.ask(path, LOCAL, AUTHORIZED, method=method)
        assert status(answer) in {400, 405}
        assert TOKEN not in answer
        assert port.worker.changes == 0

    async def test_a_method_in_a_header_or_a_form_is_none(self, port: Port) -> None:
        answer = await port.ask(CHANGE[0], LOCAL, AUTHORIZED, b"X-HTTP-Method-Override: POST")
        assert status(answer) == 405
        answer = await port.ask(f"{CHANGE[0]}?_method=POST", LOCAL, AUTHORIZED)
        assert status(answer) == 405
        assert port.worker.changes == 0

    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param([b"Origin: http://evil.example"], id="the script of another site"),
            pytest.param([b"Origin: null"], id="the script of a file"),
            pytest.param([b"Origin: http://localhost"], id="the script of another port"),
        ],
    )
    async def test_a_web_page_changes_nothing(self, port: Port, headers: Sequence[bytes]) -> None:
        answer = await port.ask(CHANGE[0], LOCAL, AUTHORIZED, *headers, b"Content-Length: 0", method=b"POST")
        assert (status(answer), port.worker.changes) == (403, 0)


class TestLoad:
    """Floods, trickles and torn requests: whatever comes, the next probe is answered."""

    @pytest.fixture(autouse=True)
    async def _answers_afterwards(self, port: Port) -> AsyncIterator[None]:
        yield
        assert status(await port.ask("/healthz", LOCAL)) == 200

    async def test_headers_that_trickle_in_end_with_the_connections_time(
        self, port: Port, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_server, "_CONNECTION_S", 0.1)
        reader, writer = await port.connect()
        ended = asyncio.create_task(reader.read())
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        number = 0
        with contextlib.suppress(ConnectionError):
            while not ended.done():
                writer.write(b"X-%d: y\r\n" % (number := number + 1))
                await asyncio.sleep(0.01)  # a slow client is slow
        with contextlib.suppress(ConnectionError):
            assert await ended == b""
        writer.close()

    async def test_hundreds_of_slow_clients_keep_no_probe_out(self, port: Port) -> None:
        slow = []
        for _ in range(300):
            _, writer = await port.connect()
            writer.write(b"GET /healthz HTTP/1.1\r\nX: ")
            slow.append(writer)
        assert status(await port.ask("/healthz", LOCAL)) == 200
        for writer in slow:
            writer.close()

    async def test_a_client_that_does_not_read_is_cut_off(
        self, port: Port, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_server, "_CONNECTION_S", 0.1)
        monkeypatch.setattr(Metrics, "exposition", lambda _: b"x" * 16 * 1024 * 1024)
        reader, writer = await port.connect()
        writer.write(b"\r\n".join((b"GET /metrics HTTP/1.1", LOCAL, AUTHORIZED, b"", b"")))
        await asyncio.sleep(0.3)  # reading nothing has no event
        found = 0
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                found += len(chunk)
        assert found < 16 * 1024 * 1024
        writer.close()

    @pytest.mark.parametrize(
        "flood",
        [
            pytest.param(b"X: " + b"y" * 1_000_000, id="one long header"),
            pytest.param(b"\r\n".join([b"X: y"] * 100_000), id="many headers"),
            pytest.param(b"\r\n".join([b"Authorization: Bearer x"] * 10_000), id="many tokens"),
            pytest.param(b"Cookie: " + b"a=b; " * 100_000, id="many cookies"),
        ],
    )
    async def test_a_flood_of_headers_is_not_answered(self, port: Port, flood: bytes) -> None:
        assert status(await port.ask("/healthz", LOCAL, flood)) in {0, 400}

    async def test_a_long_path_is_not_answered(self, port: Port) -> None:
        assert status(await port.ask("/" + "x" * 1_000_000, LOCAL)) in {0, 400}

    async def test_a_long_path_within_the_limit_is_not_sent_back(self, port: Port) -> None:
        answer = await port.ask(
            f"/handlers/{'x' * 15_000}/pause", LOCAL, AUTHORIZED, b"Content-Length: 0", method=b"POST"
        )
        assert status(answer) == 404
        assert len(answer) < 1500

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param([b"Content-Length: 4097", b"", b"x" * 4097], id="a long body"),
            pytest.param([b"Content-Length: -1", b"", b""], id="a negative length"),
            pytest.param([b"Content-Length: 0x10", b"", b"x" * 16], id="a length that is no number"),
            pytest.param([b"Content-Length: 1", b"Content-Length: 2", b"", b"xx"], id="two lengths"),
            pytest.param(
                [b"Content-Length: 4", b"Transfer-Encoding: chunked", b"", b"0", b"", b""],
                id="a length and chunks",
            ),
            pytest.param([b"Transfer-Encoding: chunked", b"", b"ffffff", b"x"], id="a long chunk"),
            pytest.param([b"Transfer-Encoding: gzip", b"", b""], id="another encoding"),
            pytest.param(
                [b"Content-Type: multipart/form-data", b"Content-Length: 1", b"", b"x"], id="a torn form"
            ),
        ],
    )
    async def test_a_body_that_cannot_be_read_changes_nothing(
        self, port: Port, body: Sequence[bytes]
    ) -> None:
        head = (b"POST /handlers/Reserve/pause HTTP/1.1", LOCAL, AUTHORIZED)
        answer = await port.send(b"\r\n".join((*head, *body)))
        assert status(answer) in {0, 400}
        assert port.worker.changes == 0

    async def test_the_requests_behind_the_first_are_not_read(self, port: Port) -> None:
        pause = b"POST /handlers/Reserve/pause HTTP/1.1\r\nHost: localhost\r\n" + AUTHORIZED
        answer = await port.send((pause + b"\r\nContent-Length: 0\r\n\r\n") * 1000)
        assert answer.count(ANY_MESSAGE) <= 1
        assert port.worker.changes == 1

    async def test_a_request_hidden_in_a_body_is_not_read(self, port: Port) -> None:
        hidden = b"POST /handlers/Reserve/pause HTTP/1.1\r\nHost: localhost\r\n" + AUTHORIZED + b"\r\n\r\n"
        answer = await port.ask("/healthz", LOCAL, b"Content-Length: %d\r\n\r\n%b" % (len(hidden), hidden))
        assert status(answer) == 200
        assert answer.count(ANY_MESSAGE) == 1
        assert port.worker.changes == 0

    @pytest.mark.parametrize(
        "noise",
        [
            b"",
            b"\r\n" * 5000,
            b"\x00" * 5000,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500,  # how TLS begins
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /healthz\r\n\r\n",
            b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
            b"GET  /healthz  HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"  V2IDENTIFY\n\x00\x00\x00\x02{}",
        ],
    )
    async def test_what_is_no_http_is_not_answered(
        self, port: Port, noise: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_server, "_CONNECTION_S", 0.2)
        answer = await port.send(noise)
        assert status(answer) in {0, 400}
