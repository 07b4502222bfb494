"""Publishing: orders to every nsqd, each written into the ledger once nsqd has said OK."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from nsqkit.errors import PublishError
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.publisher import NsqdPublisher
from tests.chaos.cluster import Node
from tests.chaos.ledger import Ledger
from tests.chaos.orders import Order, Orders
from tests.waiting import until

PUBLISH_TIMEOUT_S = 8.0  # longer than a stall


class Feed:
    """Publishes until enough is confirmed, and as long as it is told to go on.

    What is not confirmed is never tried again: it may have arrived. Other orders take its place.

    Args:
        orders: What to publish.
        ledger: Gets the ids of what is confirmed.
        count: How many are to be confirmed.
        rate_per_s: Orders per second, over all nsqd; infinite for no limit.
        batch: Orders in one command.
        goes_on: Whether to publish more than *count*.
        has_room: Whether the workers are near enough for another batch.
    """

    def __init__(
        self,
        orders: Orders,
        ledger: Ledger,
        *,
        count: int,
        rate_per_s: float,
        batch: int = 20,
        goes_on: Callable[[], bool] = lambda: False,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._orders = orders
        self._ledger = ledger
        self._count = count
        self._rate_per_s = rate_per_s
        self._batch = batch
        self._goes_on = goes_on
        self._has_room = has_room
        self._under_way = 0
        self._moved = asyncio.Condition()
        self.confirmed = 0
        self.unconfirmed = 0

    async def run(self, nodes: Sequence[Node]) -> None:
        """Publish to all nsqd at the same time, and return when that is done."""
        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(self._publish(node, len(nodes)))

    async def until(self, confirmed: int) -> None:
        """Wait until so many are confirmed."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.confirmed >= confirmed)

    async def _publish(self, node: Node, share: int) -> None:
        publisher = NsqdPublisher(node.address, ConnectionOptions(), PUBLISH_TIMEOUT_S)
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        try:
            while wanted := self._wanted():
                await node.is_up.wait()
                await until(self._has_room, timeout_s=None)
                await asyncio.sleep(max(0.0, due_s - loop.time()))  # the rate
                due_s = max(due_s, loop.time() - 1.0) + wanted * share / self._rate_per_s
                async with node.publishing:
                    await self._publish_batch(publisher, self._orders.take(wanted))
                self._under_way -= wanted
        finally:
            await publisher.close()

    def _wanted(self) -> int:
        left = self._count - self.confirmed - self._under_way
        wanted = self._batch if self._goes_on() else min(self._batch, max(left, 0))
        self._under_way += wanted
        return wanted

    async def _publish_batch(self, publisher: NsqdPublisher, orders: Sequence[Order]) -> None:
        by_topic: defaultdict[str, list[Order]] = defaultdict(list)
        for order in orders:
            by_topic[order.topic].append(order)
        for topic, some in by_topic.items():
            if not await publish(publisher, topic, some, self._ledger):
                self.unconfirmed += len(some)
                continue
            async with self._moved:
                self.confirmed += len(some)
                self._moved.notify_all()


async def publish(publisher: NsqdPublisher, topic: str, orders: Sequence[Order], ledger: Ledger) -> bool:
    """Publish some orders in one command, and return whether nsqd confirmed them. The ledger gets their ids.

    Raises:
        PublishError: If nsqd will never take them.
    """
    try:
        await publisher.publish_many(topic, [order.body for order in orders])
    except PublishError as error:
        if error.permanent:
            raise
        return False
    ledger.write(*(order.id for order in orders))
    await asyncio.to_thread(ledger.sync)
    return True
