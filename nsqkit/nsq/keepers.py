"""Keepers: keep a connection to every wanted source of one consumer.

They pass on no message themselves, and do not decide which sources are wanted.
"""

import asyncio
import contextlib
import heapq
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nsqkit.background import Background
from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError
from nsqkit.nsq.clock_skews import ClockSkews
from nsqkit.nsq.connect_failures import ConnectFailures
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.consumer_options import ConsumerOptions
from nsqkit.nsq.dials import Dials
from nsqkit.nsq.discovery import Discovery, Source
from nsqkit.nsq.log import Log
from nsqkit.nsq.rdy import RdyController
from nsqkit.nsq.time_limit import TimeLimit
from nsqkit.nsq.topic_channels import TopicChannels
from nsqkit.policy.connection_state import ConnectionState, connection_state
from nsqkit.policy.retry import Exponential

_RECONNECT = Exponential(base_s=0.2, max_s=12.0)  # 15 s with the longest jitter
_REFUSED_RETRY_S = 15.0
_QUICK_ATTEMPTS = 3
_SUBSCRIBE_S = 60.0
"""Seconds for nsqd's OK to SUB: before it, nsqd may ask its auth server and every nsqlookupd."""
_MOST_PROBLEMS = 100
_STABLE_S = 10.0
"""After so many seconds a connection counts as working: an nsqd may cut each one right after SUB."""


class Keepers:
    """One task for each wanted source, which subscribes to it again whenever its connection is lost.

    Args:
        options: Topics and channel of the consumer.
        connection: Returns a new connection to the nsqd at an address; it is not open.
        discovery: Finds the wanted sources.
        rdy: Controls the RDY of the connections that are subscribed.
        channels: Creates the channels of a topic before SUB, and tells whether nsqd has the topic; or None.
        clocks: Measures the clocks of the nsqd.
        dials: Opens the connections in turn.
        log: Logger for connects, losses and refusals.
        background: Starts the tasks.
        on_change: Called when :attr:`live` or :attr:`is_complete` may have changed.

    Attributes:
        live: The connection of each source that is subscribed.
    """

    def __init__(
        self,
        options: ConsumerOptions,
        connection: Callable[[str], Connection],
        *,
        discovery: Discovery,
        rdy: RdyController,
        channels: TopicChannels | None,
        clocks: ClockSkews,
        dials: Dials,
        log: Log,
        background: Background,
        on_change: Callable[[], None],
    ) -> None:
        self._topic = options.topics[0]
        self._channel = options.channel
        self._is_age_limited = options.is_age_limited
        self._may_create = options.may_create
        self._connection = connection
        self._discovery = discovery
        self._rdy = rdy
        self._channels = channels
        self._clocks = clocks
        self._dials = dials
        self._background = background
        self._on_change = on_change
        self._tasks: dict[Source, asyncio.Task[None]] = {}
        self._signs_s: dict[Source, float] = {}
        self.live: dict[Source, Connection] = {}
        self._missing = set(discovery.wanted)  # and not live
        self._failures = ConnectFailures(options.channel, log)
        self._is_stopping = False

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """The tasks that have not ended."""
        return tuple(self._tasks.values())

    def signs_s(self) -> dict[Source, float]:
        """Return when each source last showed that it is served, by ``time.monotonic()``.

        Something was read from its connection, or an attempt to open one began or ended.
        """
        reads_s = {source: connection.read_s for source, connection in self.live.items()}
        return {source: reads_s.get(source, sign_s) for source, sign_s in self._signs_s.items()}

    @property
    def is_complete(self) -> bool:
        """Whether every wanted source whose nsqd has the topic is subscribed."""
        return not self._missing

    @property
    def problems(self) -> tuple[str, ...]:
        """Why sources are not subscribed, one line each, for at most 100 of them."""
        missing = heapq.nsmallest(_MOST_PROBLEMS, self._missing)
        left = len(self._missing) - len(missing)
        more = (f"{left} more subscriptions are missing",) if left else ()
        return (*map(self._failures.problem, missing), *more)

    @property
    def states(self) -> dict[str, ConnectionState]:
        """The state of the connections to each nsqd with a source that is wanted or subscribed."""
        wanted, live = _by_address(self._discovery.wanted), _by_address(self.live)
        absent = _by_address(self._discovery.absent)
        none: frozenset[str] = frozenset()
        return {
            address: connection_state(*(each.get(address, none) for each in (wanted, live, absent)))
            for address in {**wanted, **live}
        }

    def connect(self) -> None:
        """Start a task for every wanted subscription that has none."""
        self._missing = set(self._discovery.wanted - self._discovery.absent - self.live.keys())
        for source in sorted(self._discovery.wanted - self._tasks.keys()):
            name = f"connection to {source.address} for {source.topic}/{self._channel}"
            self._tasks[source] = self._background.start(self._keep(source), name)
        self._on_change()

    def stop(self) -> None:
        """Open no more connections; those that are subscribed stay. Final."""
        self._is_stopping = True
        self._failures.close()
        for source, task in self._tasks.items():
            if source not in self.live:
                task.cancel()

    async def _keep(self, source: Source) -> None:
        """Keep one subscription connected while it is wanted; a working connection is kept even longer."""
        past = _Past()
        try:
            while source in self._discovery.wanted and not self._is_stopping:
                self._signs_s[source] = time.monotonic()
                retry_in_s = await self._attempt(source, past)
                self._signs_s[source] = time.monotonic()
                if retry_in_s is None:
                    return
                await asyncio.sleep(retry_in_s)
        finally:
            del self._tasks[source]
            self._signs_s.pop(source, None)
            self._failures.forget(source)
            self._dials.forget(source.address)
            self._on_change()

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
                await self._subscribe(connection, source)
                return await self._serve_live(source, connection)
        except (ConnectionLostError, RefusedError) as error:
            self._discovery.failed(source, error)
            return error, None

    async def _subscribe(self, connection: Connection, source: Source) -> None:
        try:
            async with TimeLimit(_SUBSCRIBE_S):
                await connection.subscribe(source.topic, self._channel)
        except TimeoutError as error:
            why = f"did not answer SUB for {_SUBSCRIBE_S:g} s"
            raise ConnectionLostError(source.address, why) from error

    def _may_create_on(self, source: Source) -> bool:
        is_configured = self._may_create and self._discovery.is_configured(source)
        return is_configured or source.topic != self._topic

    async def _serve_live(self, source: Source, connection: Connection) -> tuple[NsqkitError | None, float]:
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        stable = loop.call_later(_STABLE_S, self._failures.stable, source)
        self.live[source] = connection
        self._missing.discard(source)
        self._rdy.add(connection)
        self._failures.connected(source)
        self._discovery.connected(source)
        self._on_change()
        try:
            return await connection.wait_closed(), loop.time() - since_s
        finally:
            stable.cancel()
            connection.close()
            del self.live[source]
            if source in self._discovery.wanted:
                self._missing.add(source)
            self._rdy.remove(connection)
            self._on_change()


@dataclass(slots=True)
class _Past:
    """The attempts to serve a source.

    Args:
        attempts: Number of attempts since a connection has worked.
        lost_s: When the last connection was lost or failed; None before.
    """

    attempts: int = 0
    lost_s: float | None = None


def _by_address(sources: Iterable[Source]) -> dict[str, set[str]]:
    """Return the topics of the sources on each nsqd."""
    found: dict[str, set[str]] = {}
    for source in sources:
        found.setdefault(source.address, set()).add(source.topic)
    return found


def _retry_in_s(error: NsqkitError, attempts: int) -> float:
    if isinstance(error, RefusedError):
        return _REFUSED_RETRY_S
    return _RECONNECT.delay_s(attempts, draw=random.random())  # noqa: S311 - spreads load
