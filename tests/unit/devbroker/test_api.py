from urllib.parse import urlencode

import pytest

from nsqkit.devbroker.api import Api
from nsqkit.devbroker.clocks import Clocks
from nsqkit.devbroker.config import Config
from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.routes import Answer, ApiError, Request
from nsqkit.devbroker.server import TcpServer
from tests.unit.devbroker.http_errors import LIMITS, REFUSED, WrongRequest, binary

INFO: dict[str, str | int] = {
    "version": "1.3.0",
    "start_time": 1,
    "tcp_address": "127.0.0.1:4150",
    "http_address": "127.0.0.1:4151",
    "broadcast_address": "127.0.0.1",
    "max_output_buffer_size": 65536,
    "max_output_buffer_timeout": 30_000_000_000,
}


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger(LIMITS)
    ledger.channel("t", "c", now_s=0.0)
    return ledger


@pytest.fixture
def api(ledger: Ledger) -> Api:
    return Api(TcpServer(ledger, Clocks(lambda: 0.0, lambda: 9)), INFO, Config(ledger.limits, INFO))


def call(api: Api, path: str, body: bytes = b"", **arguments: str) -> Answer:
    method = "GET" if path in {"/ping", "/info", "/stats"} else "POST"
    route, _ = api.routes.find(method, path)
    return route.answer(Request(urlencode(arguments), body))


@pytest.mark.parametrize("wrong", REFUSED, ids=[wrong.id for wrong in REFUSED])
def test_a_wrong_request_gets_nsqds_code(api: Api, wrong: WrongRequest) -> None:
    with pytest.raises(ApiError) as caught:
        call(api, wrong.path, wrong.body, **wrong.arguments)
    assert (caught.value.status, caught.value.code) == (wrong.status, wrong.code)


class TestPublishing:
    def test_pub_takes_the_body_as_it_is(self, api: Api, ledger: Ledger) -> None:
        assert call(api, "/pub", b"a\nb", topic="t") == b"OK"
        assert _bodies(ledger) == [b"a\nb"]

    def test_pub_may_defer(self, api: Api, ledger: Ledger) -> None:
        channel = ledger.topics["t"].channels["c"]
        ledger.pause_topic("t", paused=True, now_s=0.0)
        assert call(api, "/pub", b"x", topic="t", defer="1500") == b"OK"
        assert ledger.topics["t"].backlog[0].defer_s == 1.5
        assert not channel.queued

    @pytest.mark.parametrize(
        ("body", "arguments", "bodies"),
        [
            pytest.param(b"a\n\nb\n", {}, [b"a", b"b"], id="a message a line, empty ones dropped"),
            pytest.param(b"", {}, [], id="nothing is fine"),
            pytest.param(b"a\r\nb", {}, [b"a\r", b"b"], id="only the newline parts"),
            pytest.param(binary(b"a\n", b"b"), {"binary": "true"}, [b"a\n", b"b"], id="binary"),
            pytest.param(binary(b"a"), {"binary": ""}, [b"a"], id="binary without a value"),
            pytest.param(binary(b"a"), {"binary": "what"}, [b"a"], id="binary with any other value"),
            pytest.param(
                binary(b"a") + b"junk", {"binary": "1"}, [b"a"], id="what follows the last is ignored"
            ),
            pytest.param(b"a", {"binary": "false"}, [b"a"], id="binary=false"),
            pytest.param(b"a", {"binary": "0"}, [b"a"], id="binary=0"),
        ],
    )
    def test_mpub(
        self, api: Api, ledger: Ledger, body: bytes, arguments: dict[str, str], bodies: list[bytes]
    ) -> None:
        assert call(api, "/mpub", body, topic="t", **arguments) == b"OK"
        assert _bodies(ledger) == bodies

    def test_mpub_with_one_bad_message_publishes_none(self, api: Api, ledger: Ledger) -> None:
        with pytest.raises(ApiError):
            call(api, "/mpub", b"a\n" + b"x" * 11, topic="t")
        assert _bodies(ledger) == []


class TestTopicsAndChannels:
    def test_create_makes_what_is_not_there(self, api: Api, ledger: Ledger) -> None:
        for _ in range(2):
            assert call(api, "/topic/create", topic="new") == b""
            assert call(api, "/channel/create", topic="new", channel="d") == b""
        assert list(ledger.topics["new"].channels) == ["d"]

    def test_delete_forgets_it(self, api: Api, ledger: Ledger) -> None:
        assert call(api, "/channel/delete", topic="t", channel="c") == b""
        assert ledger.topics["t"].channels == {}
        assert call(api, "/topic/delete", topic="t") == b""
        assert ledger.topics == {}

    def test_empty_forgets_its_messages(self, api: Api, ledger: Ledger) -> None:
        call(api, "/pub", b"in channel", topic="t")
        call(api, "/topic/pause", topic="t")
        call(api, "/pub", b"in topic", topic="t")
        assert call(api, "/topic/empty", topic="t") == b""
        assert not ledger.topics["t"].backlog
        assert call(api, "/channel/empty", topic="t", channel="c") == b""
        assert _bodies(ledger) == []

    def test_pause_and_unpause(self, api: Api, ledger: Ledger) -> None:
        topic = ledger.topics["t"]
        for paused, verb in ((True, "pause"), (False, "unpause")):
            assert call(api, f"/topic/{verb}", topic="t") == b""
            assert call(api, f"/channel/{verb}", topic="t", channel="c") == b""
            assert (topic.paused, topic.channels["c"].paused) == (paused, paused)


class TestInformation:
    def test_ping(self, api: Api) -> None:
        assert call(api, "/ping") == b"OK"

    def test_info_has_nsqds_keys_and_no_address(self, api: Api) -> None:
        info = call(api, "/info")
        assert isinstance(info, dict)
        assert info["start_time"] == 1
        assert not {"tcp_address", "http_address"} & set(info)


def _bodies(ledger: Ledger) -> list[bytes]:
    return [copy.message.body for copy in ledger.topics["t"].channels["c"].queued]
