"""Nodes: find nsqd from the settings and nsqlookupd, and their message size limit."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from nsqkit import ConnectionLostError, Settings, SettingsError
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.lookup import LookupResult, Node
from nsqkit.nsq.nodes import (
    all_nodes,
    configured_http,
    http_addresses,
    lookup_of,
    message_limit,
    nodes_of,
    target_address,
    tcp_addresses,
)
from tests.unit.nsq.fake_http import FakeHttp

NOBODY = "127.0.0.1:1"


def producer(number: int) -> dict[str, object]:
    return {"broadcast_address": f"10.0.0.{number}", "tcp_port": 4150, "http_port": 4151}


def told(**options: Any) -> Settings:
    return Settings(connect_timeout_s=1.0, **options)


@pytest.fixture
async def lookupd() -> AsyncIterator[str]:
    """A nsqlookupd that knows two nsqd."""
    async with FakeHttp((200, {"producers": [producer(2), producer(1)]})) as server:
        yield server.address


@pytest.fixture
async def empty_lookupd() -> AsyncIterator[str]:
    async with FakeHttp((200, {"producers": []})) as server:
        yield server.address


class TestTarget:
    async def test_the_first_nsqd_that_is_named_is_published_to(self, lookupd: str) -> None:
        assert await target_address(told(nsqd=("b:4150", "a:4150"), lookupd=(lookupd,))) == "b:4150"

    async def test_else_one_that_nsqlookupd_knows_the_same_each_time(self, lookupd: str) -> None:
        assert await target_address(told(lookupd=(NOBODY, lookupd))) == "10.0.0.1:4150"

    async def test_where_it_knows_none_that_may_change(self, empty_lookupd: str) -> None:
        with pytest.raises(
            ConnectionLostError, match=r"nsqlookupd 127\.0\.0\.1:\d+ knows no nsqd to publish to"
        ):
            await target_address(told(lookupd=(empty_lookupd,)))

    async def test_where_it_does_not_answer_its_failure_is_told(self) -> None:
        with pytest.raises(ConnectionLostError, match=r"^nsqlookupd 127\.0\.0\.1:1: "):
            await target_address(told(lookupd=(NOBODY,)))

    async def test_where_neither_is_named_the_flags_are(self) -> None:
        with pytest.raises(SettingsError, match="--nsqd host:4150 or --lookupd host:4161"):
            await target_address(told())


class TestAddresses:
    async def test_tcp_addresses_are_those_named_and_those_known(self, lookupd: str) -> None:
        found = await tcp_addresses(told(nsqd=("a:4150", "10.0.0.1:4150"), lookupd=(lookupd,)))
        assert found == ("10.0.0.1:4150", "10.0.0.2:4150", "a:4150")

    async def test_without_nsqlookupd_those_named_are_all(self) -> None:
        assert await tcp_addresses(told(nsqd=("a:4150",))) == ("a:4150",)

    async def test_what_was_looked_up_before_is_not_asked_for_again(self) -> None:
        known = LookupResult(frozenset({Node("a:4150", "b:80")}), ())
        settings = told(lookupd=(NOBODY,))
        assert await tcp_addresses(settings, known) == ("a:4150",)
        assert await http_addresses(settings, known) == ("b:80",)

    async def test_http_addresses_are_as_they_are_set(self, lookupd: str) -> None:
        assert await http_addresses(told(nsqd_http=("h:80",), nsqd=("a:1",), lookupd=(lookupd,))) == ("h:80",)

    async def test_else_nsqlookupd_knows_them(self, lookupd: str) -> None:
        assert await http_addresses(told(lookupd=(lookupd,))) == ("10.0.0.1:4151", "10.0.0.2:4151")

    @pytest.mark.parametrize(
        ("nsqd", "expected"), [("a:4150", "a:4151"), ("[::1]:4150", "[::1]:4151"), ("a:5000", "a:5001")]
    )
    async def test_else_it_is_the_port_above_that_of_tcp(self, nsqd: str, expected: str) -> None:
        assert await http_addresses(told(nsqd=(nsqd,))) == (expected,)

    async def test_a_silent_nsqlookupd_names_none(self) -> None:
        assert await http_addresses(told(lookupd=(NOBODY,))) == ()

    def test_nobody_is_asked_where_no_nsqlookupd_is_named(self) -> None:
        assert lookup_of(told()) is None
        found = lookup_of(told(lookupd=("l:4161",)))
        assert found is not None
        assert found.addresses == ("l:4161",)


class TestOfTopic:
    async def test_those_that_are_named_and_those_that_have_it(self, lookupd: str) -> None:
        found = await nodes_of("orders", told(nsqd=("a:4150", "[::1]:5150"), lookupd=(lookupd,)))
        assert found.nodes == {
            Node("a:4150", "a:4151"),
            Node("[::1]:5150", "[::1]:5151"),
            Node("10.0.0.1:4150", "10.0.0.1:4151"),
            Node("10.0.0.2:4150", "10.0.0.2:4151"),
        }

    async def test_http_addresses_belong_to_nsqd_in_their_order(self) -> None:
        found = await nodes_of("orders", told(nsqd=("a:1", "b:2"), nsqd_http=("c:3", "d:4")))
        assert found.nodes == {Node("a:1", "c:3"), Node("b:2", "d:4")}

    async def test_too_few_http_addresses_are_refused(self) -> None:
        with pytest.raises(SettingsError, match="once for each --nsqd"):
            await nodes_of("orders", told(nsqd=("a:1", "b:2"), nsqd_http=("c:3",)))

    async def test_a_nsqlookupd_that_does_not_answer_is_named(self) -> None:
        found = await nodes_of("orders", told(lookupd=(NOBODY,)))
        assert not found.nodes
        assert NOBODY in found.failures[0]

    async def test_whatever_topics_they_have(self, lookupd: str) -> None:
        found = await all_nodes(told(nsqd=("a:4150",), lookupd=(lookupd,)))
        assert found.nodes == {
            Node("a:4150", "a:4151"),
            Node("10.0.0.1:4150", "10.0.0.1:4151"),
            Node("10.0.0.2:4150", "10.0.0.2:4151"),
        }
        assert (await all_nodes(told(nsqd=("a:4150",)))).nodes == {Node("a:4150", "a:4151")}


class TestMessageLimit:
    """The longest body that every nsqd takes."""

    @pytest.mark.parametrize(
        ("answers", "expected"),
        [
            pytest.param([(200, 5000)], 5000, id="what nsqd says"),
            pytest.param([(200, 5000), (200, 300)], 300, id="the least of several"),
            pytest.param(
                [(200, 5000), (404, {"message": "NOT_FOUND"})], 5000, id="one that does not say counts not"
            ),
            pytest.param([(404, {"message": "NOT_FOUND"})], 1234, id="the setting where none says"),
            pytest.param([(200, "nonsense")], 1234, id="the setting where it makes no sense"),
        ],
    )
    async def test_limit(self, answers: list[tuple[int, object]], expected: int) -> None:
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(FakeHttp(answer)) for answer in answers]
            settings = told(nsqd_http=tuple(server.address for server in servers), max_msg_bytes=1234)
            assert await message_limit(settings) == expected
            assert servers[0].requests[0].startswith("GET /config/max_msg_size")

    async def test_a_hundred_of_many_nsqd_are_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        async def config(self: NsqdHttp, name: str) -> int:
            asked.append((self.address, name))
            return 300

        monkeypatch.setattr(NsqdHttp, "config", config)
        addresses = tuple(f"10.0.0.{n}:4151" for n in range(150))
        assert await message_limit(told(nsqd_http=addresses)) == 300
        assert asked == [(address, "max_msg_size") for address in addresses[:100]]

    async def test_who_does_not_answer_sets_no_limit(self) -> None:
        assert await message_limit(told(nsqd_http=(NOBODY,), max_msg_bytes=1234)) == 1234


@pytest.mark.parametrize(
    ("http", "expected"),
    [
        pytest.param((), {"a:4150": "a:4151", "b:5150": "b:5151"}, id="TCP's port plus one"),
        pytest.param(("x:1", "y:2"), {"a:4150": "x:1", "b:5150": "y:2"}, id="the settings, in their order"),
        pytest.param(("x:1",), {"a:4150": "a:4151", "b:5150": "b:5151"}, id="not if they are no pairs"),
    ],
)
def test_the_http_addresses_of_configured_nsqd(http: tuple[str, ...], expected: dict[str, str]) -> None:
    assert configured_http(told(nsqd=("a:4150", "b:5150"), nsqd_http=http)) == expected
