import pytest

from nsqkit.devbroker import DevBroker
from nsqkit.devbroker.stats_text import _duration
from tests.unit.devbroker.raw_client import RawClient, dpub, http, identify, mpub, pub, stats

_LATENCY = {"count": 0, "percentiles": None}
_TLS = {
    "tls": False,
    "tls_cipher_suite": "",
    "tls_version": "",
    "tls_negotiated_protocol": "",
    "tls_negotiated_protocol_is_mutual": False,
}


@pytest.fixture
async def consumer(broker: DevBroker) -> RawClient:
    """A consumer of t/c that holds 2 of 6 messages, one of which is deferred."""
    client = await RawClient.connect(broker.tcp_address)
    await client.subscribe("t", "c", ready=2, client_id="me", hostname="here", user_agent="ua/1")
    await http(broker.http_address, "POST", "/mpub?topic=t", b"one\ntwo\nthree\nfour\nfive")
    await http(broker.http_address, "POST", "/pub?topic=t&defer=900000", b"later")
    await client.messages(2)
    return client


async def test_the_shape_is_nsqds(broker: DevBroker, consumer: RawClient) -> None:
    answer = await stats(broker.http_address)
    (client,) = answer["topics"][0]["channels"][0].pop("clients")
    assert client.pop("remote_address").startswith("127.0.0.1:")
    assert client.pop("connect_ts") >= answer["start_time"]
    assert client == _TLS | {
        "client_id": "me",
        "hostname": "here",
        "version": "V2",
        "state": 3,
        "ready_count": 2,
        "in_flight_count": 2,
        "message_count": 2,
        "finish_count": 0,
        "requeue_count": 0,
        "sample_rate": 0,
        "deflate": False,
        "snappy": False,
        "user_agent": "ua/1",
    }
    assert answer["topics"] == [
        {
            "topic_name": "t",
            "channels": [
                {
                    "channel_name": "c",
                    "depth": 3,
                    "backend_depth": 0,
                    "in_flight_count": 2,
                    "deferred_count": 1,
                    "message_count": 6,
                    "requeue_count": 0,
                    "timeout_count": 0,
                    "client_count": 1,
                    "paused": False,
                    "e2e_processing_latency": _LATENCY,
                }
            ],
            "depth": 0,
            "backend_depth": 0,
            "message_count": 6,
            "message_bytes": 24,
            "paused": False,
            "e2e_processing_latency": _LATENCY,
        }
    ]
    assert answer["health"] == "OK"
    assert answer["producers"] is None
    assert "heap_in_use_bytes" in answer["memory"]
    await consumer.close()


async def test_a_clients_state_and_counts(broker: DevBroker) -> None:
    client = await RawClient.connect(broker.tcp_address)
    await client.subscribe("t", "c", ready=3)
    await http(broker.http_address, "POST", "/mpub?topic=t", b"one\ntwo\nthree")
    first, second, _ = await client.messages(3)
    client.send(b"FIN " + first.id + b"\nREQ " + second.id + b" 60000\nCLS\n")
    await client.frame()
    answer = await stats(broker.http_address)
    (found,) = answer["topics"][0]["channels"][0]["clients"]
    names = ("state", "ready_count", "in_flight_count", "message_count", "finish_count", "requeue_count")
    assert [found[name] for name in names] == [4, 0, 1, 3, 1, 1]
    await client.close()


class TestProducers:
    async def test_they_are_the_clients_that_published(self, broker: DevBroker) -> None:
        producer = await RawClient.connect(broker.tcp_address)
        await producer.ask(identify(client_id="p"))
        for command in (pub("a", b"x"), mpub("b", b"x", b"y"), dpub("b", 0, b"z")):
            await producer.ask(command)
        (found,) = (await stats(broker.http_address))["producers"]
        assert (found["client_id"], found["state"]) == ("p", 0)
        assert found["pub_counts"] == [{"topic": "a", "count": 1}, {"topic": "b", "count": 3}]
        (found,) = (await stats(broker.http_address, "&topic=a"))["producers"]
        assert found["pub_counts"] == [{"topic": "a", "count": 1}]
        assert (await stats(broker.http_address, "&topic=nope"))["producers"] is None
        await producer.close()

    async def test_one_that_published_elsewhere_is_listed_without_counts(self, broker: DevBroker) -> None:
        producer = await RawClient.connect(broker.tcp_address)
        await producer.ask(pub("a", b"x"))
        await http(broker.http_address, "POST", "/topic/create?topic=b")
        (found,) = (await stats(broker.http_address, "&topic=b"))["producers"]
        assert "pub_counts" not in found
        await producer.close()

    async def test_a_consumer_that_publishes_is_both(self, broker: DevBroker) -> None:
        client = await RawClient.connect(broker.tcp_address)
        await client.subscribe("t", "c")
        await client.ask(pub("a", b"x"))
        answer = await stats(broker.http_address)
        in_channel = next(t for t in answer["topics"] if t["topic_name"] == "t")["channels"][0]["clients"][0]
        assert in_channel["pub_counts"] == answer["producers"][0]["pub_counts"]
        await client.close()


class TestFilters:
    async def test_an_unknown_topic_is_null_and_an_unknown_channel_an_empty_list(
        self, broker: DevBroker
    ) -> None:
        await http(broker.http_address, "POST", "/topic/create?topic=t")
        assert (await stats(broker.http_address, "&topic=nope"))["topics"] is None
        assert (await stats(broker.http_address, "&topic=t&channel=nope"))["topics"] == []

    async def test_a_topic_and_a_channel(self, broker: DevBroker) -> None:
        for topic in ("b", "a"):
            await http(broker.http_address, "POST", f"/topic/create?topic={topic}")
            for channel in ("d", "c"):
                await http(broker.http_address, "POST", f"/channel/create?topic={topic}&channel={channel}")
        every = await stats(broker.http_address)
        assert [topic["topic_name"] for topic in every["topics"]] == ["a", "b"]
        assert [channel["channel_name"] for channel in every["topics"][0]["channels"]] == ["c", "d"]
        one = await stats(broker.http_address, "&topic=b&channel=d")
        assert [topic["topic_name"] for topic in one["topics"]] == ["b"]
        assert [channel["channel_name"] for channel in one["topics"][0]["channels"]] == ["d"]

    async def test_clients_and_memory_can_be_left_out(self, broker: DevBroker, consumer: RawClient) -> None:
        answer = await stats(broker.http_address, "&include_clients=false&include_mem=false")
        assert "memory" not in answer
        assert answer["topics"][0]["channels"][0]["clients"] is None
        assert answer["topics"][0]["channels"][0]["client_count"] == 1
        await consumer.close()


class TestText:
    async def test_it_is_laid_out_as_nsqds(self, broker: DevBroker, consumer: RawClient) -> None:
        producer = await RawClient.connect(broker.tcp_address)
        await producer.ask(pub("u", b"x"))
        await http(broker.http_address, "POST", "/channel/pause?topic=t&channel=c")
        await http(broker.http_address, "POST", "/topic/pause?topic=u")
        _, body = await http(broker.http_address, "GET", "/stats")
        lines = body.decode().splitlines()
        assert "Health: OK" in lines
        assert "   [t              ] depth: 0     be-depth: 0     msgs: 6        e2e%: " in lines
        assert "*P [u              ] depth: 1     be-depth: 0     msgs: 1        e2e%: " in lines
        channel = (
            "[c                        ] depth: 3     be-depth: 0     inflt: 2    def: 1    re-q: 0     "
        )
        assert f"   *P {channel}timeout: 0     msgs: 6        e2e%: " in lines
        client = next(line for line in lines if line.startswith("        [V2 here:"))
        assert (
            "] state: 3 inflt: 2    rdy: 2    fin: 0        re-q: 0        msgs: 2        connected: "
            in client
        )
        assert lines[-2] == "Producers:"
        assert "msgs: 1        topics: u=1 connected: " in lines[-1]
        await producer.close()
        await consumer.close()

    async def test_nothing_there_is_said(self, broker: DevBroker) -> None:
        _, body = await http(broker.http_address, "GET", "/stats?include_mem=false")
        lines = body.decode().splitlines()
        assert "Topics: None" in lines
        assert lines[-1] == "Producers: None"
        assert "Memory:" not in lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m0s"), (3599, "59m59s"), (3605, "1h0m5s"), (-1, "0s")],
)
def test_durations_are_written_as_go_does(seconds: int, text: str) -> None:
    assert _duration(seconds) == text
