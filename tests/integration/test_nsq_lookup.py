"""Real nsqlookupd's answers, and real nsqd's HTTP."""

import asyncio
from typing import Any

import pytest

from nsqkit.errors import RefusedError
from nsqkit.nsq import Lookup, LookupResult, Node, NsqdHttp
from tests.integration.conftest import Server, StartNsqd
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.nsqd


async def _found(lookup: Lookup, topic: str | None, count: int) -> LookupResult:
    """Ask until nsqd has registered what is asked for."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            result = await (lookup.nodes() if topic is None else lookup.producers(topic))
            if len(result.nodes) == count:
                return result


async def test_all_nsqd_of_a_topic_are_found(nsqlookupd: Server, start_nsqd: StartNsqd) -> None:
    nodes = [start_nsqd() for _ in range(3)]
    for node in nodes[:2]:
        await NsqdHttp(node.http_address).create_channel("orders", "stock")
    lookup = Lookup([nsqlookupd.http_address])
    result = await _found(lookup, "orders", 2)
    assert result.nodes == {Node(node.tcp_address, node.http_address) for node in nodes[:2]}
    assert result.failures == ()
    assert {node.address for node in (await _found(lookup, None, 3)).nodes} == {
        node.tcp_address for node in nodes
    }


async def test_a_topic_that_nobody_knows_is_no_failure(nsqlookupd: Server) -> None:
    assert await Lookup([nsqlookupd.http_address]).producers("orders") == LookupResult(frozenset(), ())


async def test_nsqd_tells_its_limits_and_statistics(nsqd: Server) -> None:
    http = NsqdHttp(nsqd.http_address)
    await http.ping()
    assert await http.config("max_msg_size") == 1_048_576
    assert await http.config("max_req_timeout") == 3_600_000_000_000
    assert await http.config("no_such_option") is None
    await http.create_channel("orders", "stock")
    await http.create_channel("orders", "stock")
    stats: Any = await http.stats("orders")
    assert stats["topics"][0]["channels"][0]["channel_name"] == "stock"
    with pytest.raises(RefusedError, match="INVALID"):
        await http.create_channel("a b", "stock")
