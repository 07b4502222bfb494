"""Declarations: makes sure that a queue or an exchange exists, and counts a queue's messages."""

from aio_pika import ExchangeType
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from nsqkit.errors import BridgeError, OutageError

# RabbitMQ closes the channel on which it does not find something, so each question has a channel.


async def require_queue(connection: AbstractConnection, name: str, *, create: bool) -> None:
    """Make sure that a queue exists.

    Args:
        connection: An open connection.
        name: The queue.
        create: Whether to declare a missing one, as a quorum queue.

    Raises:
        BridgeError: If it does not exist.
        OutageError: If it exists, and its node is not there.
    """
    try:
        await messages_ready(connection, name)
    except ChannelNotFoundEntity as error:
        if not create:
            raise _missing("queue", name, error) from error
        async with connection.channel() as channel:
            await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})


async def require_exchange(connection: AbstractConnection, name: str, *, create: bool) -> None:
    """Make sure that an exchange exists; the default exchange always does.

    Args:
        connection: An open connection.
        name: The exchange.
        create: Whether to declare a missing one, durable and of the type ``topic``.

    Raises:
        BridgeError: If it does not exist.
    """
    try:
        async with connection.channel() as channel:
            await channel.get_exchange(name, ensure=True)
    except ChannelNotFoundEntity as error:
        if not create:
            raise _missing("exchange", name, error) from error
        async with connection.channel() as channel:
            await channel.declare_exchange(name, ExchangeType.TOPIC, durable=True)


async def messages_ready(connection: AbstractConnection, queue: str) -> int:
    """Return how many messages of a queue wait for a consumer, 0 or more."""
    async with connection.channel() as channel:
        declared = await channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0


def _missing(kind: str, name: str, error: ChannelNotFoundEntity) -> BridgeError | OutageError:
    if f"no {kind}" not in str(error):
        return OutageError(f"{kind} {name!r}: {error}")
    return BridgeError(f"{kind} {name!r} does not exist; create it, or set create = true in the route")
