"""The consumer of one handler: keeps a connection to every nsqd that has its topics.

It passes messages on as they arrive, and does not handle or answer them.
"""

import asyncio
import contextlib
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nsqkit.background import Background
from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError
from nsqkit.nsq.clock_skews import ClockSkews
from nsqkit.nsq.connect_failures import ConnectFailures
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.dials import Dials
from nsqkit.nsq.discovery import Discovery, Endpoints, Source
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.log import Log
from nsqkit.nsq.message import Message
from nsqkit.nsq.rdy import RdyController
from nsqkit.nsq.rdy_timer import RdyTimer
from nsqkit.nsq.time_limit import TimeLimit
from nsqkit.nsq.topic_channels import TopicChannels
from nsqkit.policy.retry import Exponential

_RECONNECT = Exponential(base_s=0.2, max_s=12.0)  # 15 s with the longest jitter
_REFUSED_RETRY_S = 15.0
_QUICK_ATTEMPTS = 3
_MOST_PROBLEMS = 100
_STABLE_S = 10.0
"""After so many seconds a connection counts as working: an nsqd may cut each one right after SUB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerOptions:
    """Subscriptions and limits of a consumer.

    Args:
        topics: The handler's topic, then additional topics. These are subscribed on every nsqd that has the
            first topic, and on every nsqd that nsqlookupd names for them.
        channel: Channel to subscribe to on all topics.
        connection: Options for the connection to each nsqd.
        max_in_flight: Messages in flight over all connections of the first topic; 1 or more. Each connection
            of another topic gets one in addition.
        is_fixed: Whether RDY is an even share of max_in_flight instead of following the load, for handlers
            that wait until a batch is full.
        min_rdy: With *is_fixed*, the least RDY of each connection, even if the sum exceeds max_in_flight, so
            that a single nsqd can fill a batch. The handler still starts at most max_in_flight.
        is_age_limited: Whether messages expire, so that the skew of an nsqd's clock is measured before SUB.
        may_create: Whether a configured nsqd without the first topic may get it.
    """

    topics: tuple[str, ...]
    channel: str
    connection: ConnectionOptions
    max_in_flight: int
    is_fixed: bool = False
    min_rdy: int = 0
    is_age_limited: bool = False
    may_create: bool = True


class Consumer:
    """Receives the messages of one channel from every nsqd that is configured or discovered.

    A lost connection is opened again after 0.2 s at first, growing to 15 s; a refused one after 15 s. A
    connection that lasts for less than 10 s counts as a failed attempt. The log has one line for each change
    and for each minute that a failure lasts, not for each attempt.

    Args:
        options: Subscriptions and limits.
        endpoints: Configured nsqd, and nsqlookupd for others.
        on_messages: Called with the deliveries of each chunk on arrival, one or more; it must not block.
        on_settle_failure: Called with ``"FIN"``, ``"REQ"`` or ``"TOUCH"`` when nsqd reports that the command
            came too late.
        on_lost: Called when a connection has ended: its messages can no longer be answered.
        log: Logger for connects, losses and refusals.
        background: Starts the consumer's tasks; by default one that only logs those that die.
        channels: Creates the channels of all handlers of a topic before this one is subscribed, and keeps an
            nsqd without the first topic from getting it if it may not, as a discovered one; or None.
        on_producer: Called with the first topic and whether an nsqd has it, when that is known and may have
            changed; never if nsqd are configured.
        clocks: Measures the clocks of the nsqd; or None.
        dials: Opens the connections of all consumers in turn; by default those of this one.
        rdy_timer: Timer of the RDY control of all consumers of a worker; by default one of its own.
    """

    def __init__(
        self,
        options: ConsumerOptions,
        endpoints: Endpoints,
        *,
        on_messages: Callable[[Sequence[Message]], None],
        on_settle_failure: Callable[[str], None],
        on_lost: Callable[[], None] = lambda: None,
        log: Log,
        background: Background | None = None,
        channels: TopicChannels | None = None,
        on_producer: Callable[[str, bool], None] = lambda _topic, _has_producer: None,
        clocks: ClockSkews | None = None,
        dials: Dials | None = None,
        rdy_timer: RdyTimer | None = None,
    ) -> None:
        self._topic = options.topics[0]
        self._channel = options.channel
        self._name = f"{options.topics[0]}/{options.channel}"
        self._options = options.connection
        self._rdy = RdyController(
            self._topic,
            options.max_in_flight,
            is_fixed=options.is_fixed,
            min_rdy=options.min_rdy,
            timer=rdy_timer or RdyTimer(),
        )
        self._background = background or Background(log)
        self._discovery = Discovery(
            options.topics, endpoints, on_change=self._connect, log=log, background=self._background
        )
        self._on_messages = on_messages
        self._on_settle_failure = on_settle_failure
        self._on_lost = on_lost
        self._channels = channels
        self._on_producer = on_producer
        self._is_age_limited = options.is_age_limited
        self._may_create = options.may_create
        self._clocks = clocks or ClockSkews(
            timeout_s=options.connection.connect_timeout_s, on_skew=lambda *_: None, log=log
        )
        self._dials = dials or Dials()
        self._keepers: dict[Source, asyncio.Task[None]] = {}
        self._live: dict[Source, Connection] = {}
        self._missing = set(self._discovery.wanted)  # and not live
        self._failures = ConnectFailures(self._channel, log)
        self._is_started = False
        self._is_ready = asyncio.Event()
        self._is_stopping = False

    def start(self) -> None:
        """Start to connect, and return at once. Has no effect after an earlier start or a close."""
        if self._is_stopping or self._is_started:
            return
        self._is_started = True
        self._discovery.start()
        self._connect()

    @property
    def connections(self) -> tuple[Source, ...]:
        """Address and topic of every active subscription."""
        return tuple(self._live)

    @property
    def http_addresses(self) -> frozenset[str]:
        """``host:port`` of the HTTP port of every nsqd that is to be subscribed."""
        return self._discovery.http_addresses

    @property
    def live_http_addresses(self) -> frozenset[str]:
        """``host:port`` of the HTTP port of every nsqd with an active subscription."""
        return frozenset(filter(None, map(self._discovery.http_address, self._live)))

    def http_address(self, address: str) -> str | None:
        """Return ``host:port`` of the HTTP port of the nsqd at an address; None if it is not known."""
        return self._discovery.http_address(Source(address, self._topic))

    @property
    def problems(self) -> tuple[str, ...]:
        """Reasons why the consumer is not ready, one line each, for at most 100 subscriptions."""
        missing = heapq.nsmallest(_MOST_PROBLEMS, self._missing)
        left = len(self._missing) - len(missing)
        more = (f"{left} more subscriptions are missing",) if left else ()
        named = map(self._failures.problem, missing)
        return tuple(dict.fromkeys((*named, *more, *self._discovery.problems)))

    @property
    def ready(self) -> bool:
        """Whether every known nsqd that has the topic is subscribed, and an nsqlookupd (if any) answers."""
        return not self._missing and not self._discovery.problems

    async def wait_ready(self) -> None:
        """Wait until :attr:`ready`."""
        await self._is_ready.wait()

    def subscribed_to(self, address: str) -> bool:
        """Return whether all wanted topics of this nsqd are subscribed."""
        wanted = {source for source in self._discovery.wanted if source.address == address}
        return bool(wanted) and wanted <= self._live.keys()

    def poll_now(self) -> None:
        """Poll nsqlookupd at once."""
        self._discovery.poll_now()

    def pause(self) -> None:
        """Pause the intake (RDY 0), also on future connections. A few messages may still arrive."""
        self._rdy.pause()

    def trial(self) -> None:
        """Allow one more message in total, over all connections and topics, in addition to those in flight.

        Nothing more is allowed when one has arrived; each call then allows another one. Until then further
        calls have no effect. At most one message of each other connection may be on its way already.
        """
        self._rdy.trial()

    def resume(self) -> None:
        """End a pause or a trial."""
        self._rdy.resume()

    def set_max_in_flight(self, count: int) -> None:
        """Change max_in_flight, for example while handlers that run too long occupy slots.

        Args:
            count: Messages in flight over all connections of the first topic; 0 or more. With 0 nothing more
                is taken, on no topic and not as a trial, until a later call raises it.

        Raises:
            ValueError: If *count* is negative.
        """
        self._rdy.set_max_in_flight(count)

    async def stop_intake(self) -> None:
        """End the intake for good on every connection; connects and lookups stop.

        Messages that nsqd has already sent are still passed on, and can be answered.
        """
        self._stop()
        await asyncio.gather(*map(self._close_wait, tuple(self._live.values())))

    async def close(self, timeout_s: float) -> None:
        """End the intake, wait until every nsqd has read all answers, and disconnect. Final.

        Args:
            timeout_s: Time limit in seconds; after it the connections are closed anyway.
        """
        self._stop()
        live = tuple(self._live.values())
        tasks = [task for task in (self._discovery.poller, *self._keepers.values()) if task]
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
        self._failures.close()
        for source, keeper in self._keepers.items():
            if source not in self._live:
                keeper.cancel()

    async def _close_wait(self, connection: Connection) -> None:
        with contextlib.suppress(ConnectionLostError, RefusedError, TimeoutError):
            async with TimeLimit(self._options.connect_timeout_s):
                await connection.close_wait()

    def _connect(self) -> None:
        """Start a task for every wanted subscription that has none."""
        self._missing = set(self._discovery.wanted - self._discovery.absent - self._live.keys())
        for source in sorted(self._discovery.wanted - self._keepers.keys()):
            name = f"connection to {source.address} for {source.topic}/{self._channel}"
            self._keepers[source] = self._background.start(self._keep(source), name)
        self._changed()

    async def _keep(self, source: Source) -> None:
        """Keep one subscription connected while it is wanted; a working connection is kept even longer."""
        past = _Past()
        try:
            while source in self._discovery.wanted and not self._is_stopping:
                retry_in_s = await self._attempt(source, past)
                if retry_in_s is None:
                    return
                await asyncio.sleep(retry_in_s)
        finally:
            del self._keepers[source]
            self._failures.forget(source)
            self._dials.forget(source.address)
            self._changed()

    async def _attempt(self, source: Source, past: "_Past") -> float | None:
        """Serve one connection, and return after how many seconds to open the next; None for never.

        What it knows of the connection ends with it: thousands of sources may wait for their next attempt.
        """
        error, live_for_s = await self._serve(source, past.lost_s)
        past.attempts = 1 if (live_for_s or 0.0) >= _STABLE_S else past.attempts + 1
        if error is None or self._is_stopping:
            return None
        past.lost_s = asyncio.get_running_loop().time()
        if live_for_s is not None and past.attempts <= _QUICK_ATTEMPTS:
            self._discovery.lost(source)
        retry_in_s = _retry_in_s(error, past.attempts)
        if source not in self._discovery.absent:
            self._failures.failed(source, error, retry_in_s)
        return retry_in_s

    async def _serve(self, source: Source, lost_s: float | None) -> tuple[NsqkitError | None, float | None]:
        """Serve one connection until it ends, or until its source is not wanted any more.

        Args:
            source: The source to subscribe to.
            lost_s: When the connection before was lost or failed; None if there was none.

        Returns:
            Why the connection ended, and for how many seconds it was subscribed; None for never.
        """
        try:
            with contextlib.closing(await self._dials.open(source.address, self._connection)) as connection:
                if lost_s is not None:
                    await self._discovery.check(source, since_s=lost_s)
                    if source not in self._discovery.wanted:
                        return None, None
                http = self._discovery.http_address(source)
                await self._clocks.connect(source.address, http, is_needed=self._is_age_limited)
                if self._channels is not None and http:
                    await self._channels.create(http, source.topic, may_create=self._may_create_on(source))
                await connection.subscribe(source.topic, self._channel)
                return await self._serve_live(source, connection)
        except (ConnectionLostError, RefusedError) as error:
            self._discovery.failed(source, error)
            return error, None

    def _may_create_on(self, source: Source) -> bool:
        is_configured = self._may_create and self._discovery.is_configured(source)
        return is_configured or source.topic != self._topic

    def _connection(self, address: str) -> Connection:
        return Connection(
            address,
            self._options,
            on_messages=self._on_messages,
            on_settle_failure=self._on_settle_failure,
            on_end=self._on_lost,
            skews_ns=self._clocks.skews_ns,
        )

    async def _serve_live(self, source: Source, connection: Connection) -> tuple[NsqkitError | None, float]:
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        stable = loop.call_later(_STABLE_S, self._failures.stable, source)
        self._live[source] = connection
        self._missing.discard(source)
        self._rdy.add(connection)
        self._failures.connected(source)
        self._discovery.connected(source)
        self._changed()
        try:
            return await connection.wait_closed(), loop.time() - since_s
        finally:
            stable.cancel()
            connection.close()
            del self._live[source]
            if source in self._discovery.wanted:
                self._missing.add(source)
            self._rdy.remove(connection)
            self._changed()

    def _changed(self) -> None:
        self._report_producer()
        if self.ready:
            self._is_ready.set()
        else:
            self._is_ready.clear()

    def _report_producer(self) -> None:
        has_producer = self._discovery.has_producer
        if has_producer is False:  # nsqd registers late with an nsqlookupd that has restarted
            has_producer = any(source.topic == self._topic for source in self._live)
        if has_producer is not None and not self._is_stopping:
            self._on_producer(self._topic, has_producer)


@dataclass(slots=True)
class _Past:
    """The attempts to serve a source.

    Args:
        attempts: Number of attempts since a connection has worked.
        lost_s: When the last connection was lost or failed; None before.
    """

    attempts: int = 0
    lost_s: float | None = None


def _retry_in_s(error: NsqkitError, attempts: int) -> float:
    if isinstance(error, RefusedError):
        return _REFUSED_RETRY_S
    return _RECONNECT.delay_s(attempts, draw=random.random())  # noqa: S311 - spreads load
