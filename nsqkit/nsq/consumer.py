"""One handler's intake: it keeps a connection to every nsqd that has the topics.

It hands messages on as they come; what becomes of one is not its business.
"""

import asyncio
import contextlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.discovery import Discovery, Endpoints, Source
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.log import Log
from nsqkit.nsq.message import Message
from nsqkit.nsq.rdy import RdyController
from nsqkit.policy.retry import Exponential

_RECONNECT = Exponential(base_s=0.2, max_s=12.0)  # 15 s with the longest jitter
_REFUSED_RETRY_S = 15.0
_LOG_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerOptions:
    """What a consumer subscribes to, and how many messages it takes.

    Args:
        topics: The handler's topic, then any others that share its max_in_flight; those are
            subscribed on every nsqd that has the first, and where nsqlookupd names them.
        channel: The channel, on all of the topics.
        connection: What to ask of each nsqd.
        max_in_flight: Messages under way at a time, over all connections of the first topic; 1 or
            more. Those of the other topics get one each on top.
        is_fixed: RDY is max_in_flight shared out, and does not follow the load: for handlers that wait
            until a batch is full.
        min_rdy: Then RDY of each connection is at least this, whatever the sum: what one nsqd alone must
            be able to bring. The handler starts no more than max_in_flight all the same.
    """

    topics: tuple[str, ...]
    channel: str
    connection: ConnectionOptions
    max_in_flight: int
    is_fixed: bool = False
    min_rdy: int = 0


class Consumer:
    """Takes in the messages of one channel, from every nsqd that is named or found.

    It keeps trying: a lost or refused connection is opened again, 0.2 s later at first and 15 s at
    most (15 s at once where nsqd refuses), and the log has one line per change and per minute that it
    lasts, not per attempt.

    Args:
        options: What to subscribe to.
        endpoints: Where to find nsqd.
        on_message: Called with each delivery as it arrives; it must not block.
        on_settle_failure: Called with ``"FIN"``, ``"REQ"`` or ``"TOUCH"`` when nsqd says that
            such an answer came too late.
        log: Receives what happens to the connections.
    """

    def __init__(
        self,
        options: ConsumerOptions,
        endpoints: Endpoints,
        *,
        on_message: Callable[[Message], None],
        on_settle_failure: Callable[[str], None],
        log: Log,
    ) -> None:
        self._channel = options.channel
        self._options = options.connection
        self._rdy = RdyController(
            options.topics[0], options.max_in_flight, is_fixed=options.is_fixed, min_rdy=options.min_rdy
        )
        self._discovery = Discovery(options.topics, endpoints, on_change=self._connect, log=log)
        self._on_message = on_message
        self._on_settle_failure = on_settle_failure
        self._log = log
        self._keepers: dict[Source, asyncio.Task[None]] = {}
        self._live: dict[Source, Connection] = {}
        self._failures: dict[Source, str] = {}
        self._logged_s: dict[str, float] = {}  # when each failure was last logged
        self._turner: asyncio.Task[None] | None = None
        self._is_ready = asyncio.Event()
        self._is_stopping = False

    def start(self) -> None:
        """Begin to connect, and return at once. Does nothing when started or closed before."""
        if self._is_stopping or self._turner is not None:
            return
        self._turner = asyncio.create_task(self._rdy.take_turns())
        self._discovery.start()
        self._connect()

    @property
    def connections(self) -> tuple[Source, ...]:
        """The address and topic of every live subscription."""
        return tuple(self._live)

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each thing that keeps the consumer from being ready."""
        missing = (
            self._failures.get(source, f"nsqd {source.address}: not subscribed to {source.topic} yet")
            for source in sorted(self._discovery.wanted - self._live.keys())
        )
        return tuple(dict.fromkeys((*missing, *self._discovery.problems)))

    @property
    def ready(self) -> bool:
        """Whether every known nsqd is subscribed to, and at least one nsqlookupd (if any) answers."""
        return not self.problems

    async def wait_ready(self) -> None:
        """Wait until :attr:`ready`."""
        await self._is_ready.wait()

    def subscribed_to(self, address: str) -> bool:
        """Return whether everything that is wanted of this nsqd is subscribed."""
        wanted = {source for source in self._discovery.wanted if source.address == address}
        return bool(wanted) and wanted <= self._live.keys()

    def poll_now(self) -> None:
        """Ask nsqlookupd at once."""
        self._discovery.poll_now()

    def pause(self) -> None:
        """Stop the intake (RDY 0), also on connections to come. A few messages may still arrive."""
        self._rdy.pause()

    def trial(self) -> None:
        """Let one more message come on every connection, whatever is held there, and on those to come.

        Again with each call.
        """
        self._rdy.trial()

    def resume(self) -> None:
        """End a pause or a trial."""
        self._rdy.resume()

    async def stop_intake(self) -> None:
        """End the intake for good, on every connection; nothing is connected or looked up any more.

        What nsqd had under way is still handed on, and can be answered.
        """
        self._stop()
        await asyncio.gather(*map(self._close_wait, tuple(self._live.values())))

    async def close(self, timeout_s: float) -> None:
        """End the intake, let every nsqd take in all that was answered, and disconnect. Final.

        Args:
            timeout_s: For that, in seconds; then the connections are closed all the same.
        """
        self._stop()
        live = tuple(self._live.values())
        tasks = [task for task in (self._turner, self._discovery.poller, *self._keepers.values()) if task]
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(connection.half_close(timeout_s) for connection in live))
                await asyncio.gather(*tasks, return_exceptions=True)
        except TimeoutError:
            pass
        finally:
            for connection in live:
                connection.close()
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stop(self) -> None:
        self._is_stopping = True
        self._rdy.stop()
        self._discovery.stop()
        if self._turner is not None:
            self._turner.cancel()
        for source, keeper in self._keepers.items():
            if source not in self._live:
                keeper.cancel()

    async def _close_wait(self, connection: Connection) -> None:
        with contextlib.suppress(ConnectionLostError, RefusedError, TimeoutError):
            async with asyncio.timeout(self._options.connect_timeout_s):
                await connection.close_wait()

    def _connect(self) -> None:
        """Subscribe wherever it is wanted and nobody does yet."""
        for source in sorted(self._discovery.wanted - self._keepers.keys()):
            self._keepers[source] = asyncio.create_task(self._keep(source))
        self._changed()

    async def _keep(self, source: Source) -> None:
        """Keep one subscription up for as long as it is wanted; one that works outlives that."""
        attempts = 0
        try:
            while source in self._discovery.wanted and not self._is_stopping:
                connection = Connection(
                    source.address,
                    self._options,
                    on_message=self._on_message,
                    on_settle_failure=self._on_settle_failure,
                )
                error, was_live = await self._serve(source, connection)
                attempts = 1 if was_live else attempts + 1
                if error is None or self._is_stopping:
                    return
                retry_in_s = _retry_in_s(error, attempts)
                self._failed(source, error, retry_in_s)
                await asyncio.sleep(retry_in_s)
        finally:
            del self._keepers[source]
            self._failures.pop(source, None)
            self._changed()

    async def _serve(self, source: Source, connection: Connection) -> tuple[NsqkitError | None, bool]:
        """Return why the connection ended, and whether it was ever subscribed."""
        try:
            await connection.open()
            await connection.subscribe(source.topic, self._channel)
            self._live[source] = connection
            self._rdy.add(connection)
            self._logged_s.pop(self._failures.pop(source, ""), None)
            self._log.info("nsqd_connected", nsqd=source.address, topic=source.topic, channel=self._channel)
            self._changed()
            return await connection.wait_closed(), True
        except (ConnectionLostError, RefusedError) as error:
            return error, False
        finally:
            connection.close()
            if self._live.pop(source, None) is not None:
                self._rdy.remove(connection)
                self._changed()

    def _failed(self, source: Source, error: NsqkitError, retry_in_s: float) -> None:
        problem = str(error)
        self._failures[source] = problem
        now_s = asyncio.get_running_loop().time()
        if now_s - self._logged_s.get(problem, -math.inf) < _LOG_AGAIN_S:
            return
        self._logged_s[problem] = now_s
        say, name = (
            (self._log.error, "nsqd_refused")
            if isinstance(error, RefusedError)
            else (self._log.warning, "nsqd_unreachable")
        )
        say(
            name,
            nsqd=source.address,
            topic=source.topic,
            channel=self._channel,
            error=problem,
            retry_in_s=round(retry_in_s, 1),
        )

    def _changed(self) -> None:
        if self.ready:
            self._is_ready.set()
        else:
            self._is_ready.clear()


def _retry_in_s(error: NsqkitError, attempts: int) -> float:
    if isinstance(error, RefusedError):
        return _REFUSED_RETRY_S
    return _RECONNECT.delay_s(attempts, draw=random.random())  # noqa: S311 - spreads load
