"""One handler's intake: it keeps a connection to every nsqd that has the topics.

It hands messages on as they come; what becomes of one is not its business.
"""

import asyncio
import contextlib
import math
import random
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.lookup import Lookup, LookupResult
from nsqkit.nsq.message import Message
from nsqkit.nsq.rdy import RdyController
from nsqkit.policy.address import split_address
from nsqkit.policy.retry import MAX_DELAY_S, Exponential

_RECONNECT = Exponential(base_s=0.2, max_s=12.0)  # 15 s with the longest jitter
_REFUSED_RETRY_S = 15.0
_FIRST_POLL_S = 0.2
_POLL_JITTER = 0.3
_TELL_AGAIN_S = 60.0


class Log(Protocol):
    """What it says goes through this, as an event's name and its fields."""

    def info(self, event: str, /, **fields: object) -> object:
        """Say what is as it should be."""

    def warning(self, event: str, /, **fields: object) -> object:
        """Say what mends itself, or is tried again."""

    def error(self, event: str, /, **fields: object) -> object:
        """Say what needs a person."""


class Source(NamedTuple):
    """Where messages come from: one topic on one nsqd, over one connection."""

    address: str
    topic: str


class Consumer:
    """Takes in the messages of one channel, from every nsqd that is named or found.

    It keeps trying: a lost or refused connection is made anew, 0.2 s later at first and 15 s at
    most (15 s at once where nsqd refuses), and the log has one line per change and per minute that it
    lasts, not per attempt.

    Args:
        topics: The handler's topic, then any others that share its max_in_flight; those are
            subscribed on every nsqd that has the first, and where nsqlookupd names them.
        channel: The channel, on all of the topics.
        addresses: ``host:port`` of the nsqd that are always wanted.
        lookup: Finds more of them; None for none.
        options: What to ask of each nsqd.
        max_in_flight: Messages under way at a time, over all connections of the first topic; 1 or
            more. Those of the other topics get one each on top.
        on_message: Called with each delivery as it arrives; it must not block.
        on_settle_failure: Called with ``"FIN"``, ``"REQ"`` or ``"TOUCH"`` when nsqd says that
            such an answer came too late.
        log: Takes what happens to the connections.
        poll_s: Between two questions to nsqlookupd once a node is known, give or take 30 %.
        is_fixed: RDY is max_in_flight shared out, and does not follow the load: for who waits
            until a batch is full.
        min_rdy: Then RDY of each connection is at least this, whatever that makes in sum: what one nsqd
            alone must be able to bring. The handler starts no more than max_in_flight all the same.

    Raises:
        SettingsError: If an address is not one.
    """

    def __init__(
        self,
        *,
        topics: tuple[str, ...],
        channel: str,
        addresses: tuple[str, ...],
        lookup: Lookup | None,
        options: ConnectionOptions,
        max_in_flight: int,
        on_message: Callable[[Message], None],
        on_settle_failure: Callable[[str], None],
        log: Log,
        poll_s: float = 60.0,
        is_fixed: bool = False,
        min_rdy: int = 0,
    ) -> None:
        for address in addresses:
            split_address(address)
        self._topics = topics
        self._channel = channel
        self._lookup = lookup
        self._options = options
        self._rdy = RdyController(topics[0], max_in_flight, is_fixed=is_fixed, min_rdy=min_rdy)
        self._on_message = on_message
        self._on_settle_failure = on_settle_failure
        self._log = log
        self._poll_s = poll_s
        self._fixed = frozenset(Source(address, topic) for address in addresses for topic in topics)
        self._wanted = self._fixed
        self._keepers: dict[Source, asyncio.Task[None]] = {}
        self._live: dict[Source, Connection] = {}
        self._failures: dict[Source, str] = {}
        self._told_s: dict[str, float] = {}  # when each failure was last logged
        self._lookup_failures: tuple[str, ...] = ()
        self._is_answered = lookup is None  # at least one nsqlookupd did, when last asked
        self._turner: asyncio.Task[None] | None = None
        self._poller: asyncio.Task[None] | None = None
        self._poll_soon = asyncio.Event()
        self._is_ready = asyncio.Event()
        self._is_stopping = False

    def start(self) -> None:
        """Begin to connect, and return at once. Does nothing when started or closed before."""
        if self._is_stopping or self._turner is not None:
            return
        self._turner = asyncio.create_task(self._rdy.take_turns())
        if self._lookup is not None:
            self._poller = asyncio.create_task(self._poll(self._lookup))
        self._want(self._fixed)

    @property
    def connections(self) -> tuple[Source, ...]:
        """The address and topic of every live subscription."""
        return tuple(self._live)

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each thing that keeps the consumer from being ready."""
        lines = [
            self._failures.get(source, f"nsqd {source.address}: not subscribed to {source.topic} yet")
            for source in sorted(self._wanted - self._live.keys())
        ]
        if not self._is_answered:
            lines += self._lookup_failures or ["no nsqlookupd has answered yet"]
        return tuple(dict.fromkeys(lines))

    @property
    def ready(self) -> bool:
        """Whether every known nsqd is subscribed to, and at least one nsqlookupd (if any) answers."""
        return not self.problems

    async def wait_ready(self) -> None:
        """Wait until :attr:`ready`."""
        await self._is_ready.wait()

    def subscribed_to(self, address: str) -> bool:
        """Return whether everything that is wanted of this nsqd is subscribed."""
        wanted = {source for source in self._wanted if source.address == address}
        return bool(wanted) and wanted <= self._live.keys()

    def poll_now(self) -> None:
        """Ask nsqlookupd at once."""
        self._poll_soon.set()

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
        tasks = [task for task in (self._turner, self._poller, *self._keepers.values()) if task is not None]
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
        self._poll_soon.set()  # a question under way is left to end, and nothing is asked after it
        if self._turner is not None:
            self._turner.cancel()
        for source, keeper in self._keepers.items():
            if source not in self._live:
                keeper.cancel()

    async def _close_wait(self, connection: Connection) -> None:
        with contextlib.suppress(ConnectionLostError, RefusedError, TimeoutError):
            async with asyncio.timeout(self._options.connect_timeout_s):
                await connection.close_wait()

    def _want(self, sources: frozenset[Source]) -> None:
        self._wanted = sources
        for source in sorted(sources - self._keepers.keys()):
            self._keepers[source] = asyncio.create_task(self._keep(source))
        self._changed()

    async def _keep(self, source: Source) -> None:
        """Keep one subscription up for as long as it is wanted; one that works outlives that."""
        attempts = 0
        try:
            while source in self._wanted and not self._is_stopping:
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
            self._told_s.pop(self._failures.pop(source, ""), None)
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
        if now_s - self._told_s.get(problem, -math.inf) < _TELL_AGAIN_S:
            return
        self._told_s[problem] = now_s
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

    async def _poll(self, lookup: Lookup) -> None:
        fruitless = 0
        growing = Exponential(base_s=_FIRST_POLL_S, max_s=min(max(self._poll_s, _FIRST_POLL_S), MAX_DELAY_S))
        while not self._is_stopping:
            self._poll_soon.clear()
            found = await self._ask(lookup)
            fruitless = 0 if found else fruitless + 1
            spread = _POLL_JITTER * random.uniform(-1.0, 1.0)  # noqa: S311 - spreads load
            delay_s = self._poll_s * (1.0 + spread)
            if fruitless:
                delay_s = growing.delay_s(fruitless, draw=random.random())  # noqa: S311 - spreads load
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._poll_soon.wait()

    async def _ask(self, lookup: Lookup) -> frozenset[Source]:
        """Ask for every topic, and return what is known by now from nsqlookupd."""
        results = await asyncio.gather(*map(lookup.producers, self._topics))
        failures = tuple(sorted({line for result in results for line in result.failures}))
        if failures and failures != self._lookup_failures:
            self._log.warning("nsqlookupd_failed", error="; ".join(failures))
        self._lookup_failures = failures
        self._is_answered = len(results[0].failures) < len(lookup.addresses)
        found = frozenset(self._sources(results))
        if failures:  # who is silent may be the only one that knows a node: nothing has vanished
            found |= self._wanted - self._fixed
        if not self._is_stopping:
            self._want(self._fixed | found)
        return found

    def _sources(self, results: list[LookupResult]) -> Iterable[Source]:
        for topic, result in zip(self._topics, results, strict=True):
            for node in result.nodes:
                yield Source(node.address, topic)
                if topic == self._topics[0]:
                    yield from (Source(node.address, other) for other in self._topics[1:])

    def _changed(self) -> None:
        if self.ready:
            self._is_ready.set()
        else:
            self._is_ready.clear()


def _retry_in_s(error: NsqkitError, attempts: int) -> float:
    if isinstance(error, RefusedError):
        return _REFUSED_RETRY_S
    return _RECONNECT.delay_s(attempts, draw=random.random())  # noqa: S311 - spreads load
