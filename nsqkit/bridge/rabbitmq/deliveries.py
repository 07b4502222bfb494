"""Deliveries: what one channel has delivered of a queue, read or not, until the channel is lost."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from aiormq.abc import AbstractChannel, DeliveredMessage

from nsqkit.bridge.rabbitmq.acknowledgement import acknowledgements
from nsqkit.bridge.rabbitmq.headers import headers_of
from nsqkit.bridge.record import Record


class Deliveries:
    """Reads a queue on one channel. Its records cannot be acknowledged on another one.

    Args:
        channel: The channel. A channel of aio-pika would parse properties that a route does not need, and
            lose a message whose properties it cannot parse.
        queue: The queue.
        on_arrival: Called after each delivery.
    """

    def __init__(self, channel: AbstractChannel, queue: str, on_arrival: Callable[[], None]) -> None:
        self._channel = channel
        self._queue = queue
        self._on_arrival = on_arrival
        self._consumer: str | None = None
        self._steering = asyncio.Lock()
        self._unread: deque[Record] = deque()
        self._open_tags: list[int] = []  # of records that were read and are not acknowledged

    async def steer(self, is_wanted: Callable[[], bool]) -> None:
        """Consume the queue, or stop that and give back what was not read.

        Args:
            is_wanted: Returns whether to consume; it is asked when earlier calls have ended.
        """
        async with self._steering:
            if is_wanted() and self._consumer is None:
                consumed = await self._channel.basic_consume(self._queue, self._arrive)
                self._consumer = consumed.consumer_tag
            elif not is_wanted() and self._consumer is not None:
                consumer, self._consumer = self._consumer, None
                await self._channel.basic_cancel(consumer)
                await self._give_back()

    def take(self) -> tuple[Record, ...]:
        """Return all unread records, oldest first."""
        taken = tuple(self._unread)
        self._unread.clear()
        self._open_tags.extend(record.position for record in taken)
        return taken

    async def acknowledge(self, records: Iterable[Record]) -> None:
        """Acknowledge records that were read here; records of other channels are left out."""
        done = {record.position for record in records if record.token is self}
        for tag, multiple in acknowledgements(self._open_tags, done):
            await self._channel.basic_ack(tag, multiple=multiple)
        self._open_tags = [tag for tag in self._open_tags if tag not in done]

    async def _give_back(self) -> None:
        unread, self._unread = self._unread, deque()
        for record in unread:  # one by one: "multiple" would give back what is read, too
            await self._channel.basic_nack(record.position, requeue=True)

    async def _arrive(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        record = Record(
            body=message.body,
            headers=headers_of(properties.headers),
            content_type=properties.content_type or "",
            origin=self._queue,
            position=message.delivery_tag or 0,
            is_redelivered=bool(message.redelivered),
            token=self,
        )
        self._unread.append(record)
        self._on_arrival()
