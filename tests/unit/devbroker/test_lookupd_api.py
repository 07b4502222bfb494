import pytest

from nsqkit.devbroker.lookupd_api import LookupApi
from nsqkit.devbroker.lookupd_registry import CLIENT, Node, Peer, Registration, Registry
from nsqkit.devbroker.routes import Answer, ApiError, Request

NODE = {
    "remote_address": "127.0.0.1:5",
    "hostname": "host",
    "broadcast_address": "nsqd",
    "tcp_port": 4150,
    "http_port": 4151,
    "version": "1.3.0",
}


class Lookup:
    """The endpoints on a registry with one nsqd that has topic t with channel c, and a clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.registry = Registry()
        self.api = LookupApi(self.registry, lambda: self.now_s)
        peer = Peer(Node("127.0.0.1:5", "host", "nsqd", 4150, 4151, "1.3.0"), 0.0)
        for registration in (CLIENT, Registration("topic", "t"), Registration("channel", "t", "c")):
            self.registry.add(registration, peer)

    def get(self, path: str, query: str = "") -> Answer:
        return self.api.routes.find("GET", path)[0].answer(Request(query))

    def post(self, path: str, query: str = "") -> Answer:
        return self.api.routes.find("POST", path)[0].answer(Request(query))


@pytest.fixture
def lookup() -> Lookup:
    return Lookup()


def test_lookup_tells_channels_and_producers(lookup: Lookup) -> None:
    assert lookup.get("/lookup", "topic=t") == {"channels": ["c"], "producers": [NODE]}


def test_topics_and_channels_and_nodes(lookup: Lookup) -> None:
    assert lookup.get("/topics") == {"topics": ["t"]}
    assert lookup.get("/channels", "topic=t") == {"channels": ["c"]}
    assert lookup.get("/nodes") == {"producers": [NODE | {"tombstones": [False], "topics": ["t"]}]}
    assert lookup.get("/ping") == b"OK"


def test_a_silent_nsqd_is_not_listed(lookup: Lookup) -> None:
    lookup.now_s = 301.0
    assert lookup.get("/lookup", "topic=t") == {"channels": ["c"], "producers": []}
    assert lookup.get("/nodes") == {"producers": []}


def test_a_tombstone_hides_from_lookup_and_not_from_nodes(lookup: Lookup) -> None:
    assert lookup.post("/topic/tombstone", "topic=t&node=other:4151") == b""
    assert lookup.get("/lookup", "topic=t") == {"channels": ["c"], "producers": [NODE]}
    assert lookup.post("/topic/tombstone", "topic=t&node=nsqd:4151") == b""
    assert lookup.get("/lookup", "topic=t") == {"channels": ["c"], "producers": []}
    assert lookup.get("/nodes") == {"producers": [NODE | {"tombstones": [True], "topics": ["t"]}]}
    lookup.now_s = 45.0
    assert lookup.get("/lookup", "topic=t") == {"channels": ["c"], "producers": [NODE]}


def test_a_created_channel_has_its_topic(lookup: Lookup) -> None:
    assert lookup.post("/topic/create", "topic=a") == b""
    assert lookup.post("/channel/create", "topic=b&channel=d") == b""
    assert lookup.get("/topics") == {"topics": ["t", "a", "b"]}
    assert lookup.get("/lookup", "topic=b") == {"channels": ["d"], "producers": []}


def test_what_is_deleted_is_gone(lookup: Lookup) -> None:
    assert lookup.post("/channel/delete", "topic=t&channel=c") == b""
    assert lookup.get("/channels", "topic=t") == {"channels": []}
    assert lookup.post("/topic/delete", "topic=t") == b""
    with pytest.raises(ApiError, match="TOPIC_NOT_FOUND"):
        lookup.get("/lookup", "topic=t")


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("/topic/create", "", 400, "MISSING_ARG_TOPIC"),
        ("/topic/create", "topic=t!", 400, "INVALID_ARG_TOPIC"),
        ("/topic/create", "topic=%zz", 400, "INVALID_REQUEST"),
        ("/topic/delete", "", 400, "MISSING_ARG_TOPIC"),
        ("/topic/tombstone", "topic=t", 400, "MISSING_ARG_NODE"),
        ("/channel/create", "topic=t", 400, "MISSING_ARG_CHANNEL"),
        ("/channel/create", "topic=t&channel=c!", 400, "INVALID_ARG_CHANNEL"),
        ("/channel/delete", "topic=t&channel=nope", 404, "CHANNEL_NOT_FOUND"),
    ],
)
def test_a_wrong_request_gets_nsqlookupds_code(
    lookup: Lookup, path: str, query: str, status: int, code: str
) -> None:
    with pytest.raises(ApiError) as caught:
        lookup.post(path, query)
    assert (caught.value.status, caught.value.code) == (status, code)
