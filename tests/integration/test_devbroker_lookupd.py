"""The embedded nsqlookupd and the real one, with the embedded nsqd and the real one, in every pairing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from nsqkit.devbroker import DevBroker, DevLookupd
from tests.integration.conftest import Server, StartNsqd
from tests.unit.devbroker.lookup_client import LookupClient, identify, read
from tests.unit.devbroker.lookup_errors import REQUESTS, TALKS
from tests.unit.devbroker.raw_client import RESPONSE, RawClient, http, pub
from tests.waiting import until

pytestmark = pytest.mark.nsqd

Lookupd = DevLookupd | Server
Nsqd = DevBroker | Server
OK = (RESPONSE, b"OK")


@pytest.fixture
async def embedded() -> AsyncIterator[DevLookupd]:
    lookupd = DevLookupd(0, 0)
    await lookupd.start()
    yield lookupd
    await lookupd.stop()


@pytest.fixture(params=["embedded nsqlookupd", "real nsqlookupd"])
def lookupd(request: pytest.FixtureRequest, embedded: DevLookupd) -> Lookupd:
    if request.param == "embedded nsqlookupd":
        return embedded
    real: Server = request.getfixturevalue("nsqlookupd")
    return real


@pytest.fixture(params=["embedded nsqd", "real nsqd"])
async def nsqd(
    request: pytest.FixtureRequest, lookupd: Lookupd, start_nsqd: StartNsqd
) -> AsyncIterator[Nsqd]:
    """An nsqd that is registered; the real nsqd and nsqlookupd find each other by their fixtures."""
    if request.param == "embedded nsqd":
        broker = DevBroker(0, 0, lookupd_tcp_addresses=[lookupd.tcp_address])
        await broker.start()
        await until(lambda: found(lookupd, "/nodes", lambda answer: len(answer["producers"]) == 1))
        yield broker
        await broker.stop()
        return
    server = await asyncio.to_thread(start_nsqd, f"-lookupd-tcp-address={lookupd.tcp_address}")
    await until(lambda: found(lookupd, "/nodes", lambda answer: len(answer["producers"]) == 1))
    yield server
    await asyncio.to_thread(server.stop)


async def found(lookupd: Lookupd, path: str, condition: Callable[[Any], bool]) -> bool:
    status, body = await http(lookupd.http_address, "GET", path)
    return status == 200 and condition(json.loads(body))


async def topics(lookupd: Lookupd) -> dict[str, list[str]]:
    """Return the topics of all nodes, each with the channels that are known."""
    nodes = (await read(lookupd.http_address, "/nodes"))["producers"]
    names = sorted({topic for node in nodes for topic in node["topics"]})
    return {
        name: sorted((await read(lookupd.http_address, f"/channels?topic={name}"))["channels"])
        for name in names
    }


class TestEveryPairing:
    async def test_a_node_says_where_it_listens(self, nsqd: Nsqd, lookupd: Lookupd) -> None:
        (node,) = (await read(lookupd.http_address, "/nodes"))["producers"]
        assert f"{node['broadcast_address']}:{node['tcp_port']}" == nsqd.tcp_address
        assert f"{node['broadcast_address']}:{node['http_port']}" == nsqd.http_address
        assert set(node) == {
            "remote_address",
            "hostname",
            "broadcast_address",
            "tcp_port",
            "http_port",
            "version",
            "tombstones",
            "topics",
        }

    async def test_what_comes_and_goes_is_registered(self, nsqd: Nsqd, lookupd: Lookupd) -> None:
        client = await RawClient.connect(nsqd.tcp_address)
        await client.subscribe("t", "c#ephemeral")
        assert await client.ask(pub("u", b"x")) == OK

        async def known(expected: dict[str, list[str]]) -> bool:
            return await topics(lookupd) == expected

        await until(lambda: known({"t": ["c#ephemeral"], "u": []}))
        await client.close()
        await until(lambda: known({"t": [], "u": []}))
        await http(nsqd.http_address, "POST", "/channel/create?topic=u&channel=d")
        await until(lambda: known({"t": [], "u": ["d"]}))
        await http(nsqd.http_address, "POST", "/channel/delete?topic=u&channel=d")
        await http(nsqd.http_address, "POST", "/topic/delete?topic=t")
        await until(lambda: known({"u": ["d"]}))  # a durable channel outlives its last producer

    async def test_a_new_topic_gets_the_known_durable_channels(self, nsqd: Nsqd, lookupd: Lookupd) -> None:
        for name in ("a", "b", "e%23ephemeral"):
            await http(lookupd.http_address, "POST", f"/channel/create?topic=t&channel={name}")
        client = await RawClient.connect(nsqd.tcp_address)
        assert await client.ask(pub("t", b"x")) == OK

        async def spread() -> bool:
            answer = await read(nsqd.http_address, "/stats?format=json&topic=t")
            channels = {
                each["channel_name"]: each["depth"]
                for topic in answer["topics"]
                for each in topic["channels"]
            }
            return channels == {"a": 1, "b": 1}

        await until(spread)
        await client.close()

    async def test_a_tombstone_hides_it(self, nsqd: Nsqd, lookupd: Lookupd) -> None:
        await http(nsqd.http_address, "POST", "/topic/create?topic=t")
        await until(lambda: found(lookupd, "/lookup?topic=t", lambda answer: bool(answer["producers"])))
        answer = await http(
            lookupd.http_address, "POST", f"/topic/tombstone?topic=t&node={nsqd.http_address}"
        )
        assert answer == (200, b"")
        assert (await read(lookupd.http_address, "/lookup?topic=t"))["producers"] == []
        (node,) = (await read(lookupd.http_address, "/nodes"))["producers"]
        assert (node["topics"], node["tombstones"]) == (["t"], [True])

    async def test_it_is_forgotten_when_it_stops(self, nsqd: Nsqd, lookupd: Lookupd) -> None:
        await http(nsqd.http_address, "POST", "/topic/create?topic=t")
        await until(lambda: found(lookupd, "/topics", lambda answer: answer["topics"] == ["t"]))
        if isinstance(nsqd, DevBroker):
            await nsqd.stop()
        else:
            await asyncio.to_thread(nsqd.stop)
        await until(lambda: found(lookupd, "/nodes", lambda answer: answer["producers"] == []))
        assert (await read(lookupd.http_address, "/lookup?topic=t")) == {"channels": [], "producers": []}


class TestParity:
    @pytest.fixture
    def pair(self, embedded: DevLookupd, nsqlookupd: Server) -> tuple[DevLookupd, Server]:
        return embedded, nsqlookupd

    async def test_every_reply_of_the_protocol(self, pair: tuple[DevLookupd, Server]) -> None:
        ours, theirs = [
            {name: await self.talk(each.tcp_address, said) for name, said in TALKS.items()} for each in pair
        ]
        assert ours == theirs

    async def talk(self, address: str, said: list[bytes]) -> list[bytes]:
        replies = await (await LookupClient.connect(address)).exchange(*said)
        return [b"INFO" if reply.startswith(b"{") else reply for reply in replies]

    async def test_a_bad_magic(self, pair: tuple[DevLookupd, Server]) -> None:
        ours, theirs = [
            await (await LookupClient.connect(each.tcp_address, magic=b"  V2")).exchange() for each in pair
        ]
        assert ours == theirs == [b"E_BAD_PROTOCOL"]

    async def test_identify_is_answered_with_the_same_keys(self, pair: tuple[DevLookupd, Server]) -> None:
        ours, theirs = [await self.identified(each.tcp_address) for each in pair]
        assert ours == theirs

    async def identified(self, address: str) -> dict[str, str]:
        client = await LookupClient.connect(address)
        reply = await client.ask(identify())
        assert reply is not None
        await client.close()
        return {name: type(value).__name__ for name, value in sorted(json.loads(reply).items())}

    async def test_every_answer_over_http(self, pair: tuple[DevLookupd, Server]) -> None:
        ours, theirs = [await self.answers(each.http_address) for each in pair]
        assert ours == theirs

    async def answers(self, address: str) -> list[object]:
        answers: list[object] = []
        for method, path in REQUESTS:
            status, body = await http(address, method, path, b"")
            answer: Any = json.loads(body) if body.startswith(b"{") else body
            if isinstance(answer, dict):
                answer = {k: sorted(v) if isinstance(v, list) else v for k, v in answer.items()}
            answers.append((method, path, status, answer))
        return answers

    async def test_info_has_the_same_keys(self, pair: tuple[DevLookupd, Server]) -> None:
        ours, theirs = [set(await read(each.http_address, "/info")) for each in pair]
        assert ours == theirs == {"version"}
