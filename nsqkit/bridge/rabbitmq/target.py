"""Target: the exchange of RabbitMQ that a route writes."""

import asyncio
import re
from typing import Any, Final

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import ChannelPreconditionFailed, DeliveryError, PublishError

from nsqkit.bridge.access import Access
from nsqkit.bridge.address import RabbitmqAddress
from nsqkit.bridge.rabbitmq.connection import RabbitmqConnection
from nsqkit.bridge.rabbitmq.declaration import require_exchange, require_queue
from nsqkit.bridge.rabbitmq.failures import failure, translated
from nsqkit.bridge.rabbitmq.headers import table_of
from nsqkit.bridge.record import Record
from nsqkit.errors import BridgeError, OutageError, RecordRefusedError

CONFIRM_S: Final = 10.0
"""Seconds that RabbitMQ has to confirm a message."""
_LONGEST_CONTENT_TYPE_BYTES: Final = 255
_TOO_LARGE: Final = re.compile(r"message size \d+ .*larger than .*?(?P<most>\d+)")


class RabbitmqTarget:
    """Publishes to an exchange; see :class:`~nsqkit.bridge.ports.RecordTarget`. AMQP has no keys of records.

    Args:
        address: The broker, the exchange and the routing key of all messages.
        access: Credentials and TLS.
        create: Whether to declare a missing exchange, durable and of the type ``topic``; for the default
            exchange, the queue that the routing key names, as a quorum queue.
        log: structlog logger.
    """

    def __init__(self, address: RabbitmqAddress, access: Access, *, create: bool, log: Any) -> None:
        self._address = address
        self._create = create
        self._exchange: AbstractExchange | None = None
        self._silence = ""
        self._under_way = 0
        self._none_under_way = asyncio.Event()
        self._none_under_way.set()
        self._connection = RabbitmqConnection(address, access, self._begin, self._forget_silence, log)

    async def open(self) -> None:
        """Connect, and make sure that the exchange exists."""
        await self._connection.open()

    async def send(self, record: Record) -> None:
        """Publish a message, persistent and mandatory, and return when RabbitMQ has confirmed it."""
        message = _message(record)
        exchange = self._exchange
        if exchange is None or self._connection.problem:
            raise OutageError(self._connection.problem or f"{self._connection.where}: not connected")
        self._under_way += 1
        self._none_under_way.clear()
        try:
            await self._publish(exchange, message)
        except BridgeError as error:  # the next connection may be allowed more
            raise OutageError(str(error)) from error
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._none_under_way.set()

    @property
    def problems(self) -> tuple[str, ...]:
        """Why no message can be confirmed."""
        return tuple(filter(None, (self._connection.problem, self._silence)))

    async def close(self) -> None:
        """Wait for what is under way, at most 10 s each, and disconnect."""
        await self._none_under_way.wait()
        await self._connection.close()

    async def _publish(self, exchange: AbstractExchange, message: Message) -> None:
        where = self._connection.where
        with translated(where):
            try:
                await exchange.publish(message, self._address.routing_key, mandatory=True, timeout=CONFIRM_S)
            except PublishError as error:
                key = f"exchange {self._address.exchange!r} with routing key {self._address.routing_key!r}"
                raise RecordRefusedError(f"{where}: {key} leads to no queue") from error
            except DeliveryError as error:
                raise OutageError(f"{where} did not take the message (nack); a queue may be full") from error
            except TimeoutError as error:
                raise await self._unconfirmed() from error
            except ChannelPreconditionFailed as error:
                raise _refusal(error, message, where) from error
        self._silence = ""

    async def _unconfirmed(self) -> OutageError:
        blocked = "; it blocks publishes until its memory or disk alarm ends"
        why = blocked if await self._connection.is_blocked() else ""
        self._silence = f"{self._connection.where} has not confirmed a message for {CONFIRM_S:g} s{why}"
        return OutageError(self._silence)

    def _forget_silence(self) -> None:
        self._silence = ""

    async def _begin(self, connection: AbstractConnection, channel: AbstractChannel) -> None:
        name, key = self._address.exchange, self._address.routing_key
        if name:
            await require_exchange(connection, name, create=self._create)
        else:
            await require_queue(connection, key, create=self._create)
        self._exchange = await channel.get_exchange(name, ensure=False)


def _refusal(error: ChannelPreconditionFailed, message: Message, where: str) -> Exception:
    """Return the error of a message whose channel was closed, because one of its messages was too large."""
    found = _TOO_LARGE.search(str(error))
    if found and message.body_size > int(found["most"]):
        return RecordRefusedError(f"{where} takes at most {found['most']} bytes, not {message.body_size}")
    return failure(error, where)


def _message(record: Record) -> Message:
    if record.body is None:
        raise RecordRefusedError("AMQP has no message without a body, such as Kafka's tombstone")
    if len(record.content_type.encode()) > _LONGEST_CONTENT_TYPE_BYTES:
        raise RecordRefusedError(f"its content type is longer than {_LONGEST_CONTENT_TYPE_BYTES} bytes")
    return Message(
        record.body,
        headers=dict(table_of(record.headers)),
        content_type=record.content_type or None,
        delivery_mode=DeliveryMode.PERSISTENT,
    )
