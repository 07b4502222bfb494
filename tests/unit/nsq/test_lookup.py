"""What all nsqlookupd say together, however many of them are down or wrong."""

import contextlib
import json

import pytest

from nsqkit.errors import SettingsError
from nsqkit.nsq import lookup as module
from nsqkit.nsq.lookup import Lookup, Node
from tests.unit.nsq.fake_http import Answer, FakeHttp


def producer(host: str, tcp_port: object = 4150, http_port: object = 4151) -> dict[str, object]:
    return {"broadcast_address": host, "tcp_port": tcp_port, "http_port": http_port, "version": "1.3.0"}


def producers(*hosts: str) -> Answer:
    return 200, {"channels": [], "producers": [producer(host) for host in hosts]}


NOT_FOUND: Answer = (404, {"message": "TOPIC_NOT_FOUND"})


async def _lookup(stack: contextlib.AsyncExitStack, *answers: Answer) -> Lookup:
    servers = [await stack.enter_async_context(FakeHttp(answer)) for answer in answers]
    return Lookup([server.address for server in servers], timeout_s=2.0)


async def test_all_are_asked_and_their_answers_united() -> None:
    """Pynsq asks one of them per poll, and knows what that one knows."""
    async with contextlib.AsyncExitStack() as stack:
        lookup = await _lookup(stack, producers("a", "b"), producers("b", "c"), NOT_FOUND)
        found = await lookup.producers("orders")
    assert {node.address for node in found.nodes} == {"a:4150", "b:4150", "c:4150"}
    assert found.failures == ()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="silent"),
        pytest.param((500, b"oops"), id="an error"),
        pytest.param((404, b"no such page"), id="another server's 404"),
        pytest.param((200, b"<html>"), id="no JSON"),
        pytest.param((200, []), id="no object"),
        pytest.param((200, {}), id="without producers"),
        pytest.param((200, {"producers": 5}), id="producers that are no list"),
        pytest.param(b"\x00\x01", id="another protocol"),
    ],
)
async def test_one_that_fails_is_survived_and_named(answer: Answer) -> None:
    async with contextlib.AsyncExitStack() as stack:
        lookup = await _lookup(stack, answer, producers("b"))
        found = await lookup.producers("orders")
    assert {node.address for node in found.nodes} == {"b:4150"}
    assert len(found.failures) == 1
    assert found.failures[0].startswith(f"nsqlookupd {lookup.addresses[0]}: ")


@pytest.mark.parametrize(
    "registered",
    [
        pytest.param("a:4150", id="no object"),
        pytest.param({"broadcast_address": "a"}, id="no ports"),
        pytest.param(producer("a", "many"), id="a port that is no number"),
        pytest.param(producer("a", 0), id="a port that cannot be"),
        pytest.param(producer(""), id="no host"),
        pytest.param(producer("http://10.0.0.9"), id="a URL"),
        pytest.param(producer("my host"), id="two words"),
        pytest.param(producer("10.0.0.9:4150"), id="a host with a port"),
        pytest.param(producer("[::1]"), id="a host in brackets"),
        pytest.param(producer("user@10.0.0.9"), id="a user"),
        pytest.param({**producer("a"), "broadcast_address": None}, id="null"),
        pytest.param(producer("a" * 900_000), id="a host of 900 KB"),
        pytest.param(producer("a\x1b[2J"), id="a terminal escape"),
    ],
)
async def test_a_registration_that_cannot_be_used_is_skipped_and_named(registered: object) -> None:
    """It hides no other nsqd in the same answer."""
    answer: Answer = (200, {"producers": [producer("b"), registered, producer("c")]})
    async with contextlib.AsyncExitStack() as stack:
        found = await (await _lookup(stack, answer, answer)).producers("orders")
    assert {node.address for node in found.nodes} == {"b:4150", "c:4150"}
    assert found.failures == ()
    (fault,) = found.faults
    assert fault.startswith("an nsqd is skipped: ")
    assert json.dumps(registered)[2:20] in fault
    assert fault.isprintable()
    assert len(fault) < 500


async def test_of_too_many_registrations_a_part_is_checked_the_known_ones_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[object] = []

    def node(producer: dict[str, object]) -> Node:
        checked.append(producer)
        return Node(f"{producer['broadcast_address']}:4150", "")

    monkeypatch.setattr(module, "_node", node)
    monkeypatch.setattr(module, "_MOST_READ", 10)
    registered = [5, *(producer(f"n{number}") for number in range(1000)), producer("::1")]
    known = {"n998:4150", "n999:4150", "[::1]:4150", "gone:4150"}
    async with contextlib.AsyncExitStack() as stack:
        lookup = await _lookup(stack, (200, {"producers": registered}), producers("b"))
        found = await lookup.producers("orders", known=known)
    assert len(checked) == 10 + 1
    assert {"n998:4150", "n999:4150", "::1:4150", "b:4150"} < {node.address for node in found.nodes}
    assert found.unread == 992
    assert found.problems[-1] == "992 registrations are left out, they are too many"


async def test_two_nsqd_with_one_address_are_named() -> None:
    async with contextlib.AsyncExitStack() as stack:
        lookup = await _lookup(stack, producers("a", "b", "a"), producers("b"))
        found = await lookup.producers("orders")
    assert {node.address for node in found.nodes} == {"a:4150", "b:4150"}
    assert found.faults == ("two nsqd register a:4150, and only one of them is consumed",)


async def test_an_nsqd_without_an_http_port_is_found() -> None:
    async with contextlib.AsyncExitStack() as stack:
        lookup = await _lookup(stack, (200, {"producers": [producer("a", http_port=0)]}))
        assert (await lookup.producers("orders")).nodes == {Node("a:4150", "")}


async def test_one_that_is_down_is_survived_and_named() -> None:
    found = await Lookup(["127.0.0.1:1"]).producers("orders")
    assert found.nodes == frozenset()
    assert found.failures == ("nsqlookupd 127.0.0.1:1: Connection refused",)


async def test_no_producers_is_an_answer() -> None:
    async with contextlib.AsyncExitStack() as stack:
        lookup = await _lookup(stack, (200, {"producers": None}), NOT_FOUND)
        assert await lookup.producers("orders") == await lookup.producers("other")


async def test_an_ipv6_node_has_brackets() -> None:
    async with contextlib.AsyncExitStack() as stack:
        lookup = await _lookup(stack, producers("2001:db8::7"))
        found = await lookup.producers("orders")
    assert found.nodes == {Node("[2001:db8::7]:4150", "[2001:db8::7]:4151")}


async def test_the_topic_is_quoted_and_nodes_are_asked_for_without_one() -> None:
    async with FakeHttp(producers("a")) as server:
        lookup = Lookup([server.address])
        await lookup.producers("jobs#ephemeral")
        assert (await lookup.nodes()).nodes == {Node("a:4150", "a:4151")}
        assert server.requests == ["GET /lookup?topic=jobs%23ephemeral", "GET /nodes"]


def test_the_callers_addresses_are_kept_as_they_are() -> None:
    """Pynsq shuffles the list that it is given, and fails on a tuple."""
    addresses = ["b:4161", "a:4161", "b:4161"]
    assert Lookup(addresses).addresses == ("b:4161", "a:4161")
    assert Lookup(tuple(addresses)).addresses == ("b:4161", "a:4161")
    assert addresses == ["b:4161", "a:4161", "b:4161"]


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError):
        Lookup(["http://a:4161"])
