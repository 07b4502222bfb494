import struct

import pytest

from nsqkit.devbroker.api import Answer, Api, ApiError, Request
from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.server import TcpServer
from tests.unit.devbroker.raw_client import sized

LIMITS = Limits(max_msg_bytes=10, max_body_bytes=100)
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
    return Api(TcpServer(ledger, lambda: 0.0, lambda: 9), lambda: 9, INFO)


def call(api: Api, path: str, body: bytes = b"", **arguments: str) -> Answer:
    return api.routes[path].answer(Request(arguments, body))


def binary(*bodies: bytes) -> bytes:
    return struct.pack(">i", len(bodies)) + sized(*bodies)


CHANNEL_ROUTES = [f"/channel/{verb}" for verb in ("create", "delete", "empty", "pause", "unpause")]


@pytest.mark.parametrize(
    ("path", "body", "arguments", "status", "code"),
    [
        pytest.param("/pub", b"x", {}, 400, "MISSING_ARG_TOPIC", id="no topic"),
        pytest.param("/pub", b"x", {"topic": ""}, 400, "INVALID_TOPIC", id="empty topic"),
        pytest.param("/pub", b"x", {"topic": "t!"}, 400, "INVALID_TOPIC", id="bad topic"),
        pytest.param("/pub", b"", {"topic": "t!"}, 400, "MSG_EMPTY", id="an empty message comes first"),
        *(
            pytest.param("/pub", b"x", {"topic": "t", "defer": defer}, 400, "INVALID_DEFER", id=f"defer {defer!r}")
            for defer in ("", "x", "-1", "1.5", "3600001", "9" * 30, "١")
        ),
        pytest.param("/mpub", b"x", {}, 400, "MISSING_ARG_TOPIC", id="mpub without topic"),
        pytest.param("/mpub", b"x" * 11, {"topic": "t"}, 413, "MSG_TOO_BIG", id="a line too long"),
        *(
            pytest.param("/mpub", body, {"topic": "t", "binary": "true"}, 413, code, id=name)
            for name, body, code in (
                ("no count", b"", "BAD_BODY"),
                ("a count of none", binary(), "BAD_BODY"),
                ("a negative count", struct.pack(">i", -1), "BAD_BODY"),
                ("a count beyond any body", struct.pack(">i", 20), "BAD_BODY"),
                ("an empty message", binary(b"x", b""), "BAD_MESSAGE"),
                ("a message too long", binary(b"x" * 11), "BAD_MESSAGE"),
                ("a message cut short", binary(b"xyz")[:-1], "BAD_MESSAGE"),
                ("a size cut short", binary(b"xyz")[:6], "BAD_MESSAGE"),
                ("a message missing", struct.pack(">i", 2) + sized(b"x"), "BAD_MESSAGE"),
            )
        ),
        pytest.param("/topic/create", b"", {}, 400, "MISSING_ARG_TOPIC", id="create nothing"),
        pytest.param("/topic/create", b"", {"topic": "q!"}, 400, "INVALID_TOPIC", id="create a bad name"),
        pytest.param("/topic/empty", b"", {"topic": "q!"}, 400, "INVALID_TOPIC", id="empty looks at the name"),
        pytest.param("/topic/empty", b"", {"topic": "q"}, 404, "TOPIC_NOT_FOUND", id="empty an unknown topic"),
        *(
            pytest.param(f"/topic/{verb}", b"", {"topic": "q!"}, 404, "TOPIC_NOT_FOUND", id=f"{verb} does not")
            for verb in ("delete", "pause", "unpause")
        ),
        *(
            pytest.param(f"/topic/{verb}", b"", {}, 400, "MISSING_ARG_TOPIC", id=f"{verb} nothing")
            for verb in ("delete", "empty", "pause", "unpause")
        ),
        *(
            pytest.param(path, b"", arguments, status, code, id=f"{path} {arguments}")
            for path in CHANNEL_ROUTES
            for arguments, status, code in (
                ({}, 400, "MISSING_ARG_TOPIC"),
                ({"channel": "c"}, 400, "MISSING_ARG_TOPIC"),
                ({"topic": "q!", "channel": "c"}, 400, "INVALID_ARG_TOPIC"),
                ({"topic": "t"}, 400, "MISSING_ARG_CHANNEL"),
                ({"topic": "t", "channel": "c!"}, 400, "INVALID_ARG_CHANNEL"),
                ({"topic": "q", "channel": "c"}, 404, "TOPIC_NOT_FOUND"),
            )
        ),
        *(
            pytest.param(path, b"", {"topic": "t", "channel": "q"}, 404, "CHANNEL_NOT_FOUND", id=f"{path} unknown")
            for path in CHANNEL_ROUTES[1:]
        ),
    ],
)
def test_a_wrong_request_gets_nsqds_code(
    api: Api, path: str, body: bytes, arguments: dict[str, str], status: int, code: str
) -> None:
    with pytest.raises(ApiError) as caught:
        call(api, path, body, **arguments)
    assert (caught.value.status, caught.value.code) == (status, code)


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
            pytest.param(binary(b"a") + b"junk", {"binary": "1"}, [b"a"], id="what follows the last is ignored"),
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

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("max_msg_size", 10),
            ("max_body_size", 100),
            ("max_rdy_count", 2500),
            ("max_req_timeout", 3_600_000_000_000),
            ("msg_timeout", 60_000_000_000),
            ("max_msg_timeout", 900_000_000_000),
            ("max_heartbeat_interval", 60_000_000_000),
            ("tcp_address", "127.0.0.1:4150"),
            ("nsqlookupd_tcp_addresses", []),
        ],
    )
    def test_config_tells_sizes_in_bytes_and_times_in_nanoseconds(
        self, api: Api, option: str, value: Answer
    ) -> None:
        assert api.config(option) == value

    def test_an_unknown_option_is_refused(self, api: Api) -> None:
        with pytest.raises(ApiError) as caught:
            api.config("nope")
        assert (caught.value.status, caught.value.code) == (400, "INVALID_OPTION")


def _bodies(ledger: Ledger) -> list[bytes]:
    return [copy.message.body for copy in ledger.topics["t"].channels["c"].queued]
