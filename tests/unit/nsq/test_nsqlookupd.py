"""Client of nsqlookupd's HTTP port: requests, answers, and answers of something else."""

from collections.abc import Awaitable, Callable

import pytest

from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq import http
from nsqkit.nsq.nsqlookupd import NsqlookupdHttp
from tests.unit.nsq.fake_http import Answer, FakeHttp


async def test_its_topics_and_channels_are_read() -> None:
    async with FakeHttp((200, {"topics": ["a", "b"], "channels": ["c"]})) as server:
        client = NsqlookupdHttp(server.address)
        assert await client.topics() == {"a", "b"}
        assert await client.channels("a#ephemeral") == {"c"}
        assert server.requests == ["GET /topics", "GET /channels?topic=a%23ephemeral"]


async def test_the_topics_of_all_nodes_are_read() -> None:
    nodes = [{"topics": ["a", "b"]}, {"topics": None}, {}, 5, {"topics": ["b", "c"]}]
    async with FakeHttp((200, {"producers": nodes})) as server:
        assert await NsqlookupdHttp(server.address).topics_of_nodes() == {"a", "b", "c"}


async def test_a_channel_is_posted() -> None:
    async with FakeHttp((200, b"")) as server:
        await NsqlookupdHttp(server.address).create_channel("orders", "stock")
        assert server.requests == ["POST /channel/create?topic=orders&channel=stock"]


async def test_none_is_an_answer() -> None:
    async with FakeHttp((200, {"topics": None})) as server:
        assert await NsqlookupdHttp(server.address).topics() == frozenset()


@pytest.mark.parametrize(
    "answer", [(200, b"<html>"), (200, []), (200, {}), (200, {"topics": 5}), (200, {"topics": "orders"})]
)
async def test_another_answer_is_none(answer: Answer) -> None:
    async with FakeHttp(answer) as server:
        with pytest.raises(ConnectionLostError, match="/topics has no list of topics"):
            await NsqlookupdHttp(server.address).topics()


@pytest.mark.parametrize(
    ("answer", "ask"),
    [
        pytest.param({"topics": [*"abc"]}, NsqlookupdHttp.topics, id="topics"),
        pytest.param({"producers": [{}, {}, {}]}, NsqlookupdHttp.topics_of_nodes, id="nodes"),
        pytest.param(
            {"producers": [{"topics": "abc"}]}, NsqlookupdHttp.topics_of_nodes, id="topics of a node"
        ),
    ],
)
async def test_a_list_that_would_take_long_to_check_is_none(
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, object],
    ask: Callable[[NsqlookupdHttp], Awaitable[object]],
) -> None:
    monkeypatch.setattr(http, "_MOST_ENTRIES", 2)
    async with FakeHttp((200, answer)) as server:
        with pytest.raises(ConnectionLostError, match="3 entries"):
            await ask(NsqlookupdHttp(server.address))


async def test_a_refusal_is_raised() -> None:
    async with FakeHttp((405, {"message": "METHOD_NOT_ALLOWED"})) as server:
        with pytest.raises(RefusedError, match="METHOD_NOT_ALLOWED"):
            await NsqlookupdHttp(server.address).create_channel("orders", "stock")
