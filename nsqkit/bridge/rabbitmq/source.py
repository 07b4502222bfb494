"""Source: the queue of RabbitMQ that a route reads."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

from aio_pika.abc import AbstractChannel, AbstractConnection

from nsqkit.background import Background
from nsqkit.bridge.access import Access
from nsqkit.bridge.address import RabbitmqAddress
from nsqkit.bridge.rabbitmq.connection import RabbitmqConnection
from nsqkit.bridge.rabbitmq.declaration import messages_ready, require_queue
from nsqkit.bridge.rabbitmq.deliveries import Deliveries
from nsqkit.bridge.rabbitmq.failures import translated
from nsqkit.bridge.record import Record
from nsqkit.errors import BridgeError, OutageError

_LAG_S: Final = 3.0


class RabbitmqSource:
    """Reads a queue; see :class:`~nsqkit.bridge.ports.RecordSource`.

    Args:
        address: The broker, the queue, and how many messages may be unacknowledged.
        access: Credentials and TLS.
        create: Whether to declare a missing queue, as a quorum queue.
        log: structlog logger.
    """

    def __init__(self, address: RabbitmqAddress, access: Access, *, create: bool, log: Any) -> None:
        self._address = address
        self._create = create
        self._changed = asyncio.Event()
        self._is_paused = False
        self._deliveries: Deliveries | None = None
        self._background = Background(log)
        self._connection = RabbitmqConnection(address, access, self._begin, self._changed.set, log)

    async def open(self) -> None:
        """Connect, and begin to consume the queue."""
        await self._connection.open()

    async def read(self) -> Sequence[Record]:
        """Wait for messages, and return all that have arrived; at most the prefetch."""
        while True:
            self._changed.clear()
            self._connection.check()
            if self._may_read and self._deliveries and (records := self._deliveries.take()):
                return records
            await self._changed.wait()

    async def confirm(self, records: Sequence[Record]) -> None:
        """Acknowledge messages; RabbitMQ delivers those of a lost connection again."""
        if self._deliveries is not None:
            with contextlib.suppress(BridgeError, OutageError), translated(self._connection.where):
                await self._deliveries.acknowledge(records)

    def pause(self) -> None:
        """Stop consuming, and give back what was not read."""
        self._is_paused = True
        self._steer()

    def resume(self) -> None:
        """Consume again."""
        self._is_paused = False
        self._steer()
        self._changed.set()

    async def lag(self) -> int | None:
        """Return the messages that are ready: neither delivered nor acknowledged."""
        try:
            async with self._connection.asking(_LAG_S) as connection:
                return await messages_ready(connection, self._address.queue)
        except (BridgeError, OutageError):
            return None

    @property
    def problems(self) -> tuple[str, ...]:
        """Why no message can arrive."""
        return (self._connection.problem,) if self._connection.problem else ()

    async def close(self) -> None:
        """Disconnect; RabbitMQ delivers what is not acknowledged again."""
        await self._connection.close()

    @property
    def _may_read(self) -> bool:
        """Whether unread messages are still ours: a lost connection and a pause give them back."""
        return not self._is_paused and not self._connection.problem

    def _steer(self) -> None:
        if self._deliveries is not None:
            self._background.start(self._follow(self._deliveries), f"consumer of {self._address.queue}")

    async def _follow(self, deliveries: Deliveries) -> None:
        with contextlib.suppress(BridgeError, OutageError), translated(self._connection.where):
            await deliveries.steer(lambda: not self._is_paused)

    async def _begin(self, connection: AbstractConnection, channel: AbstractChannel) -> None:
        await require_queue(connection, self._address.queue, create=self._create)
        await channel.set_qos(prefetch_count=self._address.prefetch)
        inner = await channel.get_underlay_channel()
        inner.on_consumer_cancel_callbacks.add(
            lambda _: self._connection.drop(f"queue {self._address.queue!r} is deleted or has moved")
        )
        self._deliveries = Deliveries(inner, self._address.queue, self._changed.set)
        await self._deliveries.steer(lambda: not self._is_paused)
