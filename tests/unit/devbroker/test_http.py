import asyncio

import pytest

from nsqkit.devbroker import DevBroker
from nsqkit.devbroker.http import Endpoint
from tests.unit.devbroker.raw_client import http
from tests.waiting import PATIENCE_S, until


async def request(broker: DevBroker, *data: bytes) -> bytes:
    """Send bytes as they are, and return all that comes until the broker closes."""
    host, _, port = broker.http_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.writelines(data)
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        pytest.param("GET", "/ping", 200, b"OK", id="a path that exists"),
        pytest.param("GET", "/nope", 404, b'{"message":"NOT_FOUND"}', id="one that does not"),
        pytest.param("POST", "/nope", 404, b'{"message":"NOT_FOUND"}', id="nor with another method"),
        pytest.param("GET", "/config/", 404, b'{"message":"NOT_FOUND"}', id="no option"),
        pytest.param("GET", "/config/nope", 400, b'{"message":"INVALID_OPTION"}', id="an unknown option"),
        pytest.param("GET", "/config/max_msg_size", 200, b"1048576", id="an option"),
        pytest.param("POST", "/ping", 405, b'{"message":"METHOD_NOT_ALLOWED"}', id="POST to read"),
        pytest.param("GET", "/pub?topic=t", 405, b'{"message":"METHOD_NOT_ALLOWED"}', id="GET to write"),
        pytest.param("PUT", "/pub?topic=t", 405, b'{"message":"METHOD_NOT_ALLOWED"}', id="PUT to write"),
        pytest.param("DELETE", "/topic/delete", 405, b'{"message":"METHOD_NOT_ALLOWED"}', id="DELETE"),
        pytest.param("HEAD", "/ping", 405, b"", id="HEAD"),
        pytest.param("GET", "/config/a/b", 404, b'{"message":"NOT_FOUND"}', id="an option within one"),
        pytest.param("PUT", "/config/log_level", 400, b'{"message":"INVALID_VALUE"}', id="PUT of an option"),
        pytest.param("GET", "/stats?a;b", 400, b'{"message":"INVALID_REQUEST"}', id="a broken query"),
        pytest.param("POST", "/pub?topic=%zz", 400, b'{"message":"INVALID_REQUEST"}', id="a broken escape"),
    ],
)
async def test_paths_and_methods(broker: DevBroker, method: str, path: str, status: int, body: bytes) -> None:
    assert await http(broker.http_address, method, path, b"x") == (status, body)


async def test_a_method_that_does_not_exist_is_not_allowed(broker: DevBroker) -> None:
    answer = await request(broker, b"BREW /ping HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405")
    assert answer.endswith(b'{"message":"METHOD_NOT_ALLOWED"}')


@pytest.mark.parametrize(
    ("line", "status", "headers"),
    [
        pytest.param("GET /ping", 200, {"Content-Type": "text/plain; charset=utf-8"}, id="ping is plain"),
        pytest.param(
            "GET /config/id",
            200,
            {"Content-Type": "application/json; charset=utf-8", "X-Nsq-Content-Type": "nsq; version=1.0"},
            id="JSON",
        ),
        pytest.param(
            "GET /config/tls_cert", 200, {"X-Nsq-Content-Type": "nsq; version=1.0"}, id="an empty answer"
        ),
        pytest.param(
            "PUT /ping",
            405,
            {
                "Allow": "GET, OPTIONS",
                "Content-Type": "application/json; charset=utf-8",
                "X-Nsq-Content-Type": "nsq; version=1.0",
            },
            id="a refusal",
        ),
        pytest.param("OPTIONS /config/x", 200, {"Allow": "GET, OPTIONS, PUT"}, id="what is allowed"),
        pytest.param("GET //PING/?a=b", 301, {"Location": "/ping?a=b"}, id="a path that is tidied"),
        pytest.param("POST /pub/", 307, {"Location": "/pub"}, id="a path that is tidied, with a body"),
        pytest.param("GET /%zz", 400, {"Content-Type": "text/plain; charset=utf-8"}, id="a broken path"),
        pytest.param("GET /%70ing", 200, {"Content-Type": "text/plain; charset=utf-8"}, id="an escape"),
    ],
)
async def test_answers_carry_nsqds_headers_and_no_others(
    broker: DevBroker, line: str, status: int, headers: dict[str, str]
) -> None:
    answer = await request(
        broker, f"{line} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    )
    head = answer.partition(b"\r\n\r\n")[0].decode()
    first, *lines = head.split("\r\n")
    found = dict(each.split(": ", 1) for each in lines)
    for always in ("Date", "Content-Length", "Connection"):
        found.pop(always, None)
    assert first.startswith(f"HTTP/1.1 {status} ")
    assert found == headers


class TestBodies:
    async def test_a_body_reaches_the_topic(self, broker: DevBroker) -> None:
        assert await http(broker.http_address, "POST", "/pub?topic=t", b"x" * 1_048_576) == (200, b"OK")
        assert [len(m.body) for m in broker.ledger.topics["t"].backlog] == [1_048_576]

    async def test_the_first_of_two_values_counts(self, broker: DevBroker) -> None:
        assert await http(broker.http_address, "POST", "/topic/create?topic=a&topic=b") == (200, b"")
        assert list(broker.ledger.topics) == ["a"]

    @pytest.mark.parametrize(
        ("path", "size", "code"),
        [("/pub?topic=t", 1_048_577, b"MSG_TOO_BIG"), ("/mpub?topic=t", 5_242_881, b"BODY_TOO_BIG")],
    )
    async def test_one_declared_too_large_is_refused_before_it_comes(
        self, broker: DevBroker, path: str, size: int, code: bytes
    ) -> None:
        answer = await request(
            broker, f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n".encode()
        )
        assert answer.startswith(b"HTTP/1.1 413")
        assert code in answer

    async def test_one_of_unknown_length_is_refused_when_it_is_too_large(self, broker: DevBroker) -> None:
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        head = b"POST /pub?topic=t HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = await request(broker, head, *[chunk] * 16, b"1\r\nx\r\n")
        assert answer.startswith(b"HTTP/1.1 413")
        assert "t" not in broker.ledger.topics


async def test_stats_come_as_json_or_as_text(broker: DevBroker) -> None:
    status, text = await http(broker.http_address, "GET", "/stats")
    assert status == 200
    assert text.startswith(b"nsqd v1.3.0")
    status, document = await http(broker.http_address, "GET", "/stats?format=json")
    assert document.startswith(b'{"version":"1.3.0')


async def test_a_defect_of_the_brokers_own_is_an_internal_error(
    broker: DevBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker.ledger, "topic", lambda _name: 1 / 0)
    answer = await http(broker.http_address, "POST", "/topic/create?topic=t")
    assert answer == (500, b'{"message":"INTERNAL_ERROR"}')


class TestWebPages:
    @pytest.mark.parametrize("origin", ["https://example.org", "null"])
    @pytest.mark.parametrize(
        "line", ["POST /pub?topic=t", "POST /topic/delete?topic=kept", "PUT /config/log_level"]
    )
    async def test_a_web_page_cannot_change_anything(self, broker: DevBroker, line: str, origin: str) -> None:
        broker.ledger.topic("kept")
        answer = await request(
            broker,
            f"{line} HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\nConnection: close\r\n"
            "Content-Length: 5\r\n\r\ndebug".encode(),
        )
        assert answer.startswith(b"HTTP/1.1 403")
        assert answer.endswith(b'{"message":"NOT_FROM_A_WEB_PAGE"}')
        assert list(broker.ledger.topics) == ["kept"]

    async def test_a_web_page_may_look(self, broker: DevBroker) -> None:
        answer = await request(
            broker, b"GET /ping HTTP/1.1\r\nHost: h\r\nOrigin: null\r\nConnection: close\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 200")


async def test_a_body_that_never_ends_is_freed_when_the_client_leaves(
    broker: DevBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The garbage collector need not run for it."""
    received = asyncio.Event()
    endpoints: list[Endpoint] = []
    data_received = Endpoint.data_received

    def observed(self: Endpoint, chunk: bytes) -> None:
        data_received(self, chunk)
        endpoints.append(self)
        if len(self._body) == 1_000_000:
            received.set()

    monkeypatch.setattr(Endpoint, "data_received", observed)
    host, _, port = broker.http_address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /pub?topic=t HTTP/1.1\r\nHost: h\r\nContent-Length: 1000001\r\n\r\n")
    writer.write(b"x" * 1_000_000)
    await asyncio.wait_for(received.wait(), PATIENCE_S)
    writer.close()
    await until(lambda: not endpoints[0]._body)
    assert not broker.ledger.topics
