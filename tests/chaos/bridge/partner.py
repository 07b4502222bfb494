"""The partner: reads a queue of RabbitMQ with a bare client, and writes down what arrives."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Final

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.connection import make_url

from tests.chaos.ledger import Ledger
from tests.rabbitmq import PASSWORD, USER, Rabbitmq

_PREFETCH: Final = 500
_PAUSE_S: Final = 0.1
_LOSSES: Final = (aio_pika.exceptions.AMQPError, OSError, RuntimeError)  # RuntimeError: a closed transport


class Partner:
    """Receives notices, and acknowledges each one after it is written down.

    Args:
        rabbitmq: The broker.
        queue: A queue.
        ledger: Gets order, notice and time.
        clock: Returns the seconds since the run began.

    Attributes:
        orders: Orders of which a notice has arrived.
    """

    def __init__(self, rabbitmq: Rabbitmq, queue: str, ledger: Ledger, clock: Callable[[], float]) -> None:
        self.orders: set[str] = set()
        self._url = make_url(host="127.0.0.1", port=rabbitmq.port, login=USER, password=PASSWORD)
        self._queue = queue
        self._ledger = ledger
        self._clock = clock
        self._notices: set[str] = set()

    async def read(self) -> None:
        """Read until cancelled, from a new connection whenever one is lost."""
        while True:
            with contextlib.suppress(*_LOSSES):
                await self._consume()
            await asyncio.sleep(_PAUSE_S)  # the broker is started again

    async def left(self) -> int:
        """Return how many notices are not read yet, beside those in the queue: none."""
        return 0

    async def _consume(self) -> None:
        connection = aio_pika.Connection(self._url)
        try:
            await connection.connect()
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=_PREFETCH)
            queue = await channel.get_queue(self._queue, ensure=False)
            closing = (await channel.get_underlay_channel()).closing
            await queue.consume(self._arrive)
            await asyncio.wait([closing])
        finally:
            await connection.close()  # also one that was never connected: it closes itself too late

    async def _arrive(self, message: AbstractIncomingMessage) -> None:
        event = json.loads(message.body)
        order, notice = event["data"]["order_id"], event["id"]
        # RabbitMQ delivers again what was written down and not acknowledged when it was killed.
        if not (message.redelivered and notice in self._notices):
            self._ledger.write(f"{order} {notice} {self._clock():.3f}")
        self._notices.add(notice)
        self.orders.add(order)
        with contextlib.suppress(*_LOSSES):
            await message.ack()
