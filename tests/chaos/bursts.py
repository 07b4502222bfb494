"""Bursts: some orders of certain kinds at once, beside those that are published all the time."""

from collections.abc import Mapping, Sequence

from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.publisher import NsqdPublisher
from tests.chaos.cluster import Node
from tests.chaos.ledger import Ledger
from tests.chaos.orders import ORDERS, TOPICS, Order, Orders
from tests.chaos.publishing import PUBLISH_TIMEOUT_S, publish

_TRIES = 5


class Bursts:
    """Publishes them.

    Args:
        orders: Where to take them from.
        ledger: Gets the ids of what is confirmed.
    """

    def __init__(self, orders: Orders, ledger: Ledger) -> None:
        self._orders = orders
        self._ledger = ledger

    async def publish(self, node: Node, counts: Mapping[str, int]) -> Sequence[Order]:
        """Publish so many of each kind to one nsqd, and return those that it confirmed.

        What is not confirmed is not published again, but others in its place, a few times.
        """
        confirmed: list[Order] = []
        for kind, count in counts.items():
            for _ in range(_TRIES):
                orders = self._orders.take_of(kind, count)
                if await self._publish(node, TOPICS.get(kind, ORDERS), orders):
                    confirmed += orders
                    break
        return confirmed

    async def _publish(self, node: Node, topic: str, orders: Sequence[Order]) -> bool:
        await node.is_up.wait()
        async with node.publishing:
            publisher = NsqdPublisher(node.address, ConnectionOptions(), PUBLISH_TIMEOUT_S)
            try:
                return await publish(publisher, topic, orders, self._ledger)
            finally:
                await publisher.close()
