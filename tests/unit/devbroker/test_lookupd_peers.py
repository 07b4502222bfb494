"""The embedded nsqd registers with the embedded nsqlookupd, as with any."""

import json
import logging
from collections.abc import AsyncIterator

import pytest

from nsqkit.devbroker import DevBroker, DevLookupd
from tests.unit.devbroker.lookup_client import LookupClient, identify, read
from tests.unit.devbroker.raw_client import RESPONSE, RawClient, http, pub
from tests.waiting import until

OK = (RESPONSE, b"OK")


@pytest.fixture
async def broker(lookupd: DevLookupd) -> AsyncIterator[DevBroker]:
    """An embedded broker that is registered."""
    broker = DevBroker(0, 0, lookupd_tcp_addresses=[lookupd.tcp_address])
    await broker.start()
    await registered(broker)
    yield broker
    await broker.stop()


async def registered(broker: DevBroker, count: int = 1) -> None:
    await until(lambda: broker._peers is not None and len(broker._peers.http_addresses) == count)


def topics(lookupd: DevLookupd) -> dict[str, list[str]]:
    """Return the topics that have a producer, each with its channels that have one."""
    return {
        each.key: [
            channel.subkey
            for channel in lookupd.registry.find("channel", each.key, "*")
            if lookupd.registry.producers(*channel)
        ]
        for each in lookupd.registry.find("topic", "*")
        if lookupd.registry.producers(*each)
    }


async def test_it_says_where_it_listens(broker: DevBroker, lookupd: DevLookupd) -> None:
    (node,) = (await read(lookupd.http_address, "/nodes"))["producers"]
    assert f"{node['broadcast_address']}:{node['tcp_port']}" == broker.tcp_address
    assert f"{node['broadcast_address']}:{node['http_port']}" == broker.http_address


async def test_what_comes_is_registered_and_what_goes_is_not_any_more(
    broker: DevBroker, lookupd: DevLookupd
) -> None:
    client = await RawClient.connect(broker.tcp_address)
    await client.subscribe("t", "c#ephemeral")
    assert await client.ask(pub("u", b"x")) == OK
    await until(lambda: topics(lookupd) == {"t": ["c#ephemeral"], "u": []})
    await client.close()
    await until(lambda: topics(lookupd) == {"t": [], "u": []})
    await http(broker.http_address, "POST", "/channel/create?topic=u&channel=d")
    await until(lambda: topics(lookupd) == {"t": [], "u": ["d"]})
    await http(broker.http_address, "POST", "/topic/delete?topic=u")
    await until(lambda: topics(lookupd) == {"t": []})


async def test_what_was_there_before_is_registered_when_it_connects(lookupd: DevLookupd) -> None:
    broker = DevBroker(0, 0)
    await broker.start()
    for path in ("/topic/create?topic=t", "/topic/create?topic=u", "/channel/create?topic=u&channel=c"):
        await http(broker.http_address, "POST", path)
    addresses = json.dumps([lookupd.tcp_address]).encode()
    path = "/config/nsqlookupd_tcp_addresses"
    assert await http(broker.http_address, "PUT", path, addresses) == (200, addresses.replace(b" ", b""))
    await registered(broker)
    assert topics(lookupd) == {"t": [], "u": ["c"]}
    await http(broker.http_address, "PUT", path, b"[]")
    await until(lambda: topics(lookupd) == {})
    await broker.stop()


async def test_an_nsqlookupd_that_was_away_is_told_all_at_the_next_change(
    broker: DevBroker, lookupd: DevLookupd
) -> None:
    await lookupd.stop()
    tcp_port, http_port = (
        int(each.rpartition(":")[2]) for each in (lookupd.tcp_address, lookupd.http_address)
    )
    again = DevLookupd(tcp_port, http_port)
    await again.start()
    for name in ("a", "b", "c"):
        await http(broker.http_address, "POST", f"/topic/create?topic={name}")
    await until(lambda: topics(again) == {"a": [], "b": [], "c": []})
    await again.stop()


async def test_one_that_cannot_be_reached_is_named_once_and_harms_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = DevBroker(0, 0, lookupd_tcp_addresses=["127.0.0.1:1", "nonsense"])
    with caplog.at_level(logging.WARNING, logger="nsqkit.devbroker"):
        await broker.start()
        for name in ("a", "b"):
            await http(broker.http_address, "POST", f"/topic/create?topic={name}")
        await until(lambda: len(caplog.records) == 2)
        await broker.stop()
    assert sorted(record.getMessage().partition(": ")[0] for record in caplog.records) == [
        "nsqlookupd 127.0.0.1:1",
        "nsqlookupd nonsense",
    ]


class TestNewTopics:
    """A new topic gets the channels that nsqlookupd knows, before it gives them anything."""

    async def test_each_known_durable_channel_gets_every_message(
        self, broker: DevBroker, lookupd: DevLookupd
    ) -> None:
        nsqd = await LookupClient.connect(lookupd.tcp_address)
        await nsqd.ask(identify())
        for channel in ("a", "b", "c#ephemeral"):
            assert await nsqd.ask(f"REGISTER t {channel}\n".encode()) == b"OK"
        client = await RawClient.connect(broker.tcp_address)
        await client.subscribe("t", "d", ready=2)
        assert await client.ask(pub("t", b"x")) == OK
        assert (await client.message()).body == b"x"
        found = broker.ledger.topics["t"].channels
        assert {name: channel.message_count for name, channel in found.items()} == {"d": 1, "a": 1, "b": 1}
        await client.close()
        await nsqd.close()

    async def test_an_nsqlookupd_that_does_not_answer_does_not_hold_it_for_ever(
        self, broker: DevBroker, lookupd: DevLookupd, caplog: pytest.LogCaptureFixture
    ) -> None:
        await lookupd.stop()
        client = await RawClient.connect(broker.tcp_address)
        await client.subscribe("t", "d", ready=1)
        assert await client.ask(pub("t", b"x")) == OK
        assert (await client.message()).body == b"x"
        await client.close()

    async def test_an_nsqlookupd_that_was_away_is_asked_before_it_is_connected_again(
        self, broker: DevBroker, lookupd: DevLookupd, caplog: pytest.LogCaptureFixture
    ) -> None:
        await lookupd.stop()
        for name in ("a", "b"):  # the second one finds no connection
            await http(broker.http_address, "POST", f"/topic/create?topic={name}")
        await until(lambda: f"nsqlookupd {lookupd.tcp_address}: " in caplog.text)
        tcp_port, http_port = (
            int(each.rpartition(":")[2]) for each in (lookupd.tcp_address, lookupd.http_address)
        )
        again = DevLookupd(tcp_port, http_port)
        await again.start()
        for channel in ("c", "d"):
            await http(again.http_address, "POST", f"/channel/create?topic=t&channel={channel}")
        await http(broker.http_address, "POST", "/topic/create?topic=t")
        await until(lambda: set(broker.ledger.topics["t"].channels) == {"c", "d"})
        await again.stop()

    async def test_one_that_is_deleted_meanwhile_stays_deleted(self, broker: DevBroker) -> None:
        await http(broker.http_address, "POST", "/topic/create?topic=t")
        await http(broker.http_address, "POST", "/topic/delete?topic=t")
        await until(lambda: not broker._starting)
        assert "t" not in broker.ledger.topics
