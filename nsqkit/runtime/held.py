"""Held: the deliveries of one handler that are not settled yet, by message."""

import asyncio
from collections.abc import Iterator

from nsqkit.runtime.delivery import Delivery, key_of
from nsqkit.runtime.ports import Message


class Held:
    """Deliveries that are not settled yet.

    If nsqd delivers a message again meanwhile, the earlier delivery refers to its redelivery.

    Attributes:
        count: Number of deliveries held, redeliveries included.
    """

    def __init__(self) -> None:
        self.count = 0
        self._first: dict[tuple[str, str, bytes], Delivery] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __iter__(self) -> Iterator[Delivery]:
        """Yield all deliveries, each redelivery after the earlier delivery."""
        for delivery in self._first.values():
            yield delivery
            if delivery.redelivery is not None:
                yield delivery.redelivery

    def __contains__(self, message: Message) -> bool:
        """Return whether a delivery of the same message is held."""
        return bool(self._first) and key_of(message) in self._first

    def holds(self, delivery: Delivery) -> bool:
        """Return whether a delivery is held."""
        first = self._first.get(delivery.key)
        return first is not None and delivery in {first, first.redelivery}

    def add(self, delivery: Delivery) -> Delivery:
        """Add a delivery, and return the first delivery held of its message: itself or an earlier one."""
        if not self.count:
            self._empty.clear()
        self.count += 1
        return self._first.setdefault(delivery.key, delivery)

    def supersede(self, delivery: Delivery) -> None:
        """Replace the earlier delivery of the same message."""
        self._first[delivery.key] = delivery

    def detach(self, delivery: Delivery) -> None:
        """Remove a redelivery from the earlier delivery that it waits for."""
        earlier = self._first.get(delivery.key)
        if earlier is not None and earlier.redelivery is delivery:
            earlier.redelivery = None

    def release(self, delivery: Delivery) -> Delivery | None:
        """Remove a delivery, and return the redelivery that takes its place, if one waits."""
        redelivery, delivery.redelivery = delivery.redelivery, None
        delivery.ctx = None  # break the reference cycle, which only the garbage collector would free
        key = delivery.key
        if self._first.get(key) is delivery:
            del self._first[key]
        if redelivery is not None:
            self._first[key] = redelivery
        self.count -= 1
        if not self.count:
            self._empty.set()
        return redelivery

    def has_running(self, now_s: float) -> bool:
        """Return whether a delivery that has started still has its lease."""
        return any(each.task is not None and not each.is_lost(now_s) for each in self)

    async def wait_empty(self) -> None:
        """Wait until every delivery is settled."""
        await self._empty.wait()
