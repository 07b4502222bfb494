"""A client of RabbitMQ for tests, which declares, publishes and reads as another program would."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pamqp.common import Arguments

from tests.rabbitmq import PASSWORD, USER, Rabbitmq


class Client:
    """Declares, publishes and reads as another program would, each time on a new connection.

    Args:
        server: The RabbitMQ.
    """

    def __init__(self, server: Rabbitmq) -> None:
        self._server = server

    async def quorum_queue(self, name: str = "") -> str:
        """Declare a quorum queue, and return its name."""
        return await self._declare(name or unique("quorum"), {"x-queue-type": "quorum"})

    async def classic_queue(self, arguments: Arguments = None) -> str:
        """Declare a classic queue, and return its name."""
        return await self._declare(unique("classic"), arguments)

    async def delete_queue(self, name: str) -> None:
        """Delete a queue with its messages."""
        async with self.channel() as channel:
            await channel.queue_delete(name)

    async def publish(self, queue: str, *bodies: bytes, **properties: Any) -> None:
        """Publish messages to a queue; all of them are confirmed."""
        async with self.channel() as channel:
            for body in bodies:
                message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties)
                await channel.default_exchange.publish(message, queue)

    async def get(self, queue: str) -> AbstractIncomingMessage | None:
        """Take a message out of a queue; None if it is empty."""
        async with self.channel() as channel:
            found = await (await channel.get_queue(queue)).get(fail=False)
            if found is not None:
                await found.ack()
            return found

    async def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Let an exchange send messages to a queue."""
        async with self.channel() as channel:
            await (await channel.get_queue(queue)).bind(exchange, routing_key)

    async def ready(self, queue: str) -> int:
        """Return how many messages of a queue are ready."""
        async with self.channel() as channel:
            declared = await channel.declare_queue(queue, passive=True)
            return declared.declaration_result.message_count or 0

    async def numbers(self, queue: str) -> set[int]:
        """Take all messages, and return their bodies, which are numbers."""
        found = set()
        async with self.channel() as channel:
            declared = await channel.get_queue(queue)
            while message := await declared.get(fail=False, no_ack=True):
                found.add(int(message.body))
        return found

    async def consumers(self, queue: str) -> int:
        """Return how many consumers a queue has."""
        async with self.channel() as channel:
            declared = await channel.declare_queue(queue, passive=True)
            return declared.declaration_result.consumer_count or 0

    @contextlib.asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """Yield a channel."""
        port = self._server.port
        connecting = aio_pika.connect(host="127.0.0.1", port=port, login=USER, password=PASSWORD)
        async with await connecting as connection, connection.channel() as channel:
            yield channel

    async def _declare(self, name: str, arguments: Arguments) -> str:
        async with self.channel() as channel:
            await channel.declare_queue(name, durable=True, arguments=arguments)
        return name


_numbers = itertools.count(1)


def unique(word: str) -> str:
    """Return a name for a queue or an exchange that no other test has."""
    return f"{word}{next(_numbers)}"
