"""The consumer of one handler: keeps a connection to every nsqd that has its topics.

It passes messages on as they arrive, and does not handle or answer them.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence

from nsqkit.background import Background
from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.clock_skews import ClockSkews
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.consumer_options import ConsumerOptions
from nsqkit.nsq.dials import Dials
from nsqkit.nsq.discovery import Discovery, Endpoints, Source
from nsqkit.nsq.keepers import Keepers
from nsqkit.nsq.log import Log
from nsqkit.nsq.message import Message
from nsqkit.nsq.rdy import RdyController
from nsqkit.nsq.rdy_timer import RdyTimer
from nsqkit.nsq.time_limit import TimeLimit
from nsqkit.nsq.topic_channels import TopicChannels
from nsqkit.policy.connection_state import ConnectionState
from nsqkit.policy.stall import Room


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
        self._options = options.connection
        self._rdy = RdyController(
            self._topic,
            options.max_in_flight,
            is_fixed=options.is_fixed,
            min_rdy=options.min_rdy,
            timer=rdy_timer or RdyTimer(),
        )
        background = background or Background(log)
        self._discovery = Discovery(
            options.topics, endpoints, on_change=self._connect, log=log, background=background
        )
        self._on_messages = on_messages
        self._on_settle_failure = on_settle_failure
        self._on_lost = on_lost
        self._on_producer = on_producer
        self._clocks = clocks or ClockSkews(
            timeout_s=options.connection.connect_timeout_s, on_skew=lambda *_: None, log=log
        )
        self._keepers = Keepers(
            options,
            self._connection,
            discovery=self._discovery,
            rdy=self._rdy,
            channels=channels,
            clocks=self._clocks,
            dials=dials or Dials(),
            log=log,
            background=background,
            on_change=self._changed,
        )
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
        return tuple(self._keepers.live)

    @property
    def states(self) -> dict[str, ConnectionState]:
        """The state of the connections to each nsqd that is to be subscribed or is, by its address."""
        return self._keepers.states

    @property
    def rdy(self) -> dict[str, int]:
        """The RDY last sent to each nsqd, by its address, over the connections of all topics."""
        sent: Counter[str] = Counter()
        for source, connection in self._keepers.live.items():
            sent[source.address] += connection.rdy
        return sent

    @property
    def http_addresses(self) -> frozenset[str]:
        """``host:port`` of the HTTP port of every nsqd that is to be subscribed."""
        return self._discovery.http_addresses

    @property
    def live_http_addresses(self) -> frozenset[str]:
        """``host:port`` of the HTTP port of every nsqd with an active subscription."""
        return frozenset(filter(None, map(self._discovery.http_address, self._keepers.live)))

    def http_address(self, address: str) -> str | None:
        """Return ``host:port`` of the HTTP port of the nsqd at an address; None if it is not known."""
        return self._discovery.http_address(Source(address, self._topic))

    @property
    def problems(self) -> tuple[str, ...]:
        """Reasons why the consumer is not ready, one line each, for at most 100 subscriptions."""
        return tuple(dict.fromkeys((*self._keepers.problems, *self._discovery.problems)))

    @property
    def ready(self) -> bool:
        """Whether every known nsqd that has the topic is subscribed, and an nsqlookupd (if any) answers."""
        return self._keepers.is_complete and not self._discovery.problems

    async def wait_ready(self) -> None:
        """Wait until :attr:`ready`."""
        await self._is_ready.wait()

    def subscribed_to(self, address: str) -> bool:
        """Return whether all wanted topics of this nsqd are subscribed."""
        wanted = {source for source in self._discovery.wanted if source.address == address}
        return bool(wanted) and wanted <= self._keepers.live.keys()

    def poll_now(self) -> None:
        """Poll nsqlookupd at once."""
        self._discovery.poll_now()

    def rooms(self) -> dict[tuple[str, str], Room]:
        """Return the room of each subscription, by nsqd's HTTP address and the topic.

        Subscriptions whose address is not known, or whose nsqd have the same one, are left out.
        """
        known = [(self._discovery.http_address(each), each) for each in self._keepers.live]
        places = Counter((address, source.topic) for address, source in known)
        return {
            (address, source.topic): _room(self._keepers.live[source])
            for address, source in known
            if address is not None and places[address, source.topic] == 1
        }

    def signs_s(self) -> dict[Source, float]:
        """Return when each subscription last showed that it is served, by ``time.monotonic()``."""
        return self._keepers.signs_s()

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
        await asyncio.gather(*map(self._close_wait, tuple(self._keepers.live.values())))

    async def close(self, timeout_s: float) -> None:
        """End the intake, wait until every nsqd has read all answers, and disconnect. Final.

        Args:
            timeout_s: Time limit in seconds; after it the connections are closed anyway.
        """
        self._stop()
        live = tuple(self._keepers.live.values())
        tasks = [task for task in (self._discovery.poller, *self._keepers.tasks) if task]
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
        self._keepers.stop()

    async def _close_wait(self, connection: Connection) -> None:
        with contextlib.suppress(ConnectionLostError, RefusedError, TimeoutError):
            async with TimeLimit(self._options.connect_timeout_s):
                await connection.close_wait()

    def _connect(self) -> None:
        self._keepers.connect()

    def _connection(self, address: str) -> Connection:
        return Connection(
            address,
            self._options,
            on_messages=self._on_messages,
            on_settle_failure=self._on_settle_failure,
            on_end=self._on_lost,
            skews_ns=self._clocks.skews_ns,
        )

    def _changed(self) -> None:
        self._report_producer()
        if self.ready:
            self._is_ready.set()
        else:
            self._is_ready.clear()

    def _report_producer(self) -> None:
        has_producer = self._discovery.has_producer
        if has_producer is False:  # nsqd registers late with an nsqlookupd that has restarted
            has_producer = any(source.topic == self._topic for source in self._keepers.live)
        if has_producer is not None and not self._is_stopping:
            self._on_producer(self._topic, has_producer)


def _room(connection: Connection) -> Room:
    in_flight = connection.received - connection.answered
    return Room(connection, connection.received, connection.rdy - in_flight)
