"""Connection: a connection to RabbitMQ with one channel, made again with growing pauses when it is lost."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from aio_pika import Connection
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.connection import make_url

from nsqkit.background import Background
from nsqkit.bridge.access import Access
from nsqkit.bridge.address import RabbitmqAddress
from nsqkit.bridge.rabbitmq.failures import is_undecodable, reason, translated
from nsqkit.bridge.rabbitmq.tls import tls_context
from nsqkit.errors import BridgeError, OutageError
from nsqkit.policy.address import join_address
from nsqkit.policy.retry import Exponential

Begin = Callable[[AbstractConnection, AbstractChannel], Awaitable[None]]

HEARTBEAT_S: Final = 10
"""A peer that has sent nothing for about three times as long is lost."""
CONNECT_S: Final = 10.0
_CLOSE_S: Final = 5.0
_PAUSES: Final = Exponential(base_s=0.1, max_s=10.0)
_GUEST: Final = "guest"


class RabbitmqConnection:
    """Keeps one connection and one channel. A lost channel costs the connection, too: both are made again.

    Not the library's robust connection (ADR 0098).

    Args:
        address: The broker.
        access: Credentials and TLS.
        begin: Prepares each new channel; raises ``BridgeError`` if only a person can help.
        on_change: Called after each change of ``problem``.
        log: structlog logger for losses and recoveries.

    Attributes:
        where: The broker, such as ``RabbitMQ shop:5672``, for errors.
    """

    def __init__(
        self, address: RabbitmqAddress, access: Access, begin: Begin, on_change: Callable[[], None], log: Any
    ) -> None:
        self._host_port = join_address(address.host, address.port)
        self.where = f"RabbitMQ {self._host_port}"
        self._address = address
        self._access = access
        self._begin = begin
        self._on_change = on_change
        self._log = log
        self._background = Background(log)
        self._keeper: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._closing: asyncio.Future[Any] | None = None
        self._failure: BridgeError | OutageError | None = None
        self._losses = 0

    @property
    def problem(self) -> str:
        """Why there is no connection; empty if there is one."""
        return str(self._failure or "")

    def check(self) -> None:
        """Return if time may help, or if there is a connection.

        Raises:
            BridgeError: If only a person can help.
        """
        if isinstance(self._failure, BridgeError):
            raise self._failure
        if self._keeper is not None and self._keeper.done():
            self._keeper.result()

    async def open(self) -> None:
        """Connect, and connect again after each loss until :meth:`close`.

        Raises:
            BridgeError: If only a person can help.
            OutageError: If RabbitMQ cannot be reached.
        """
        await self._connect()
        self._log.info("rabbitmq_connected", rabbitmq=self._host_port)
        self._keeper = self._background.start(self._keep(), f"connection to {self.where}")
        self._keeper.add_done_callback(lambda _: self._on_change())

    async def close(self) -> None:
        """Disconnect; may be called after a failed :meth:`open`."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        await self._disconnect()

    def drop(self, why: str) -> None:
        """Give up the channel, as if RabbitMQ had closed it."""
        if self._closing is not None and not self._closing.done():
            self._closing.set_exception(ConnectionError(why))

    @contextlib.asynccontextmanager
    async def asking(self, timeout_s: float) -> AsyncIterator[AbstractConnection]:
        """Yield the connection for questions that are on channels of their own.

        Raises:
            BridgeError: As :meth:`open`.
            OutageError: If there is no connection, or no answer within *timeout_s* seconds.
        """
        with translated(self.where):
            if self._connection is None or self._failure is not None:
                raise OutageError(self.problem or f"{self.where}: not connected")
            async with asyncio.timeout(timeout_s):
                yield self._connection

    async def is_blocked(self) -> bool:
        """Return whether RabbitMQ has blocked publishes, because of a memory or disk alarm."""
        transport = self._connection and self._connection.transport
        if not transport:
            return False
        try:
            async with asyncio.timeout(0):
                await transport.ready()  # returns at once, or when the alarm is over
        except TimeoutError:
            return True
        return False

    async def _keep(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began_s = clock()
            error = await self._lost()
            if clock() - began_s > _PAUSES.max_s:  # a channel that RabbitMQ closes at once is no success
                self._losses = 0
            self._log.warning("rabbitmq_lost", rabbitmq=self._host_port, error=reason(error))
            if is_undecodable(error):  # each delivery of the message would end the connection again
                remedy = "the AMQP library cannot decode a message; remove it from the queue"
                self._fail(BridgeError(f"{self.where}: {remedy}: {reason(error)}"))
                return await self._disconnect()
            self._fail(OutageError(f"{self.where}: the connection is lost: {reason(error)}"))
            await self._disconnect()
            await self._connect_again()
            self._log.info("rabbitmq_connected", rabbitmq=self._host_port)

    async def _lost(self) -> BaseException:
        """Wait until the channel closes, and return why."""
        if (closing := self._closing) is not None:
            await asyncio.wait([closing])
            if not closing.cancelled() and (error := closing.exception()):
                return error
        return ConnectionError("no answer to heartbeats")

    async def _connect_again(self) -> None:
        while True:
            self._losses += 1
            await asyncio.sleep(_PAUSES.delay_s(self._losses, draw=random.random()))  # noqa: S311 - spreads load
            try:
                return await self._connect()
            except (BridgeError, OutageError) as error:
                self._fail(error)

    async def _connect(self) -> None:
        try:
            with translated(self.where):
                async with asyncio.timeout(CONNECT_S):
                    self._connection = self._unconnected()
                    await self._connection.connect()
                    channel = self._connection.channel(publisher_confirms=True, on_return_raises=True)
                    await channel.initialize()
                    self._closing = (await channel.get_underlay_channel()).closing
                    await self._begin(self._connection, channel)
        except BaseException:
            await self._disconnect()
            raise
        self._failure = None
        self._on_change()

    def _unconnected(self) -> Connection:
        has_tls = self._address.has_tls or self._access.has_tls
        url = make_url(
            host=self._address.host,
            port=self._address.port,
            login=self._access.username or _GUEST,
            password=self._access.password if self._access.username else _GUEST,
            virtualhost=self._address.vhost,
            ssl=has_tls,
            heartbeat=HEARTBEAT_S,
        )
        context = tls_context(self._access) if has_tls else None
        return Connection(url, ssl_context=context, client_properties={"connection_name": "nsqkit bridge"})

    async def _disconnect(self) -> None:
        connection, self._connection, self._closing = self._connection, None, None
        if connection is None:
            return
        with contextlib.suppress(OutageError, BridgeError), translated(self.where):
            async with asyncio.timeout(_CLOSE_S):
                await connection.close()

    def _fail(self, failure: BridgeError | OutageError) -> None:
        self._failure = failure
        self._on_change()
