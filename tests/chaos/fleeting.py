"""Fleeting: a topic is deleted as an operator does it, stays away, and is published to again."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.http import fetch
from tests.chaos.bursts import Bursts
from tests.chaos.cluster import Cluster, Node, waiting
from tests.chaos.orders import FLEETING, PASSING
from tests.waiting import until

_ORDERS = 5
_AWAY_S = 3.0


async def delete_and_publish(cluster: Cluster, bursts: Bursts, workers: int) -> Iterable[str]:
    """Delete the topic once its orders are handled, see that it stays away, and publish to it again.

    Nobody else may publish to it. All workers are subscribed when it is deleted: one that connects again
    trusts an answer of nsqlookupd for a second.

    Args:
        cluster: Has the topic.
        bursts: Publishes to it.
        workers: How many subscribe to it.

    Returns:
        What is not as it should be, a line each.

    Raises:
        AssertionError: If another fault keeps its orders from being handled for long.
    """
    await bursts.publish(cluster.nodes[0], {PASSING: _ORDERS})
    async with contextlib.AsyncExitStack() as undisturbed:
        for node in cluster.nodes:
            await undisturbed.enter_async_context(node.undisturbed())
        await until(lambda: _is_settled(cluster.nodes, workers))
        await _delete(cluster)
        await asyncio.sleep(_AWAY_S)  # nothing may happen meanwhile
        back = [node.name for node in cluster.nodes if await _topics(node)]
    await bursts.publish(cluster.nodes[-1], {PASSING: _ORDERS})
    return [f"the deleted topic came back on {name} before anybody published" for name in back]


async def _delete(cluster: Cluster) -> None:
    """Do as nsqadmin does: first in nsqlookupd, then on every nsqd."""
    for address in (cluster.lookupd, *(node.http_address for node in cluster.nodes)):
        await until(lambda address=address: _deleted(address))  # type: ignore[misc]


async def _deleted(address: str) -> bool:
    try:
        await fetch(address, "/topic/delete", method="POST", topic=FLEETING)
    except RefusedError:  # it does not have the topic
        return True
    except ConnectionLostError:  # nsqlookupd restarts
        return False
    return True


async def _is_settled(nodes: Iterable[Node], workers: int) -> bool:
    """Return whether all of it is handled and each worker is subscribed wherever it is."""
    found = [topic for node in nodes for topic in await _topics(node)]
    channels = [channel for topic in found for channel in topic["channels"]]
    return not any(map(waiting, found)) and {each["client_count"] for each in channels} == {workers}


async def _topics(node: Node) -> list[dict[str, Any]]:
    return [topic for topic in await node.topics() if topic["topic_name"] == FLEETING]
