"""The harness's NSQ without sockets: the embedded broker's ledger, driven by the loop's clock."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from nsqkit.devbroker.channel import Consumer, Copy, SettleError
from nsqkit.devbroker.ledger import Ledger
from nsqkit.errors import PublishError
from nsqkit.nsq import ConsumerOptions
from nsqkit.nsq.message import whole_ms
from nsqkit.policy.flow import rdy_shares
from nsqkit.policy.names import topic_problem
from nsqkit.testing.broker import Load
from nsqkit.testing.clock import VirtualClock

ADDRESS = "harness:4150"


class LedgerBroker:
    """One nsqd in this process, with nsqd's own limits, under a virtual clock.

    Args:
        held: How many messages the handlers hold.
    """

    address = ADDRESS

    def __init__(self, held: Callable[[], int]) -> None:
        self.clock = VirtualClock(lambda: held() > 0)
        self.ledger = Ledger()
        self.max_msg_bytes = self.ledger.limits.max_msg_bytes
        self.now_s = self.clock.now_s
        self.now_ns = self.clock.now_ns
        self._lines: dict[Consumer, Line] = {}
        self._consumers: list[LedgerConsumer] = []
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, channels: Sequence[tuple[str, str]]) -> None:
        """Take over the loop's time, and make the channels."""
        self.clock.start()
        for topic, channel in channels:
            await self.ensure_channel(ADDRESS, topic, channel)

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Take one message.

        Raises:
            PublishError: If nsqd would refuse it; permanent.
        """
        problem = topic_problem(topic)
        longest_s = self.ledger.limits.max_req_timeout_s
        if not 1 <= len(body) <= self.max_msg_bytes:
            problem = f"a body has 1 to {self.max_msg_bytes} bytes, not {len(body)}"
        elif not 0 <= defer_s <= longest_s:
            problem = f"defer_s={defer_s!r} is not in 0..{longest_s:g}"
        if problem is not None:
            raise PublishError(topic, address, problem, True)  # noqa: FBT003 - a field, not a flag
        self.ledger.publish(
            topic,
            [body],
            timestamp_ns=self.now_ns(),
            now_s=self.now_s(),
            defer_s=whole_ms(defer_s) / 1000,
        )
        self.changed()

    async def ensure_channel(self, address: str, topic: str, channel: str) -> None:
        """Make a durable channel."""
        self.ledger.channel(topic, channel, now_s=self.now_s())
        self.changed()

    def make_consumer(self, options: ConsumerOptions, **callbacks: Any) -> "LedgerConsumer":
        """Return a handler's consumer; arguments as of ``LedgerConsumer``."""
        consumer = LedgerConsumer(self, options, **callbacks)
        self._consumers.append(consumer)
        return consumer

    async def settle(self, load: Load, *, through_delays: bool) -> None:
        """Return when nothing runs and nothing is due; see ``Broker``."""

        def is_quiet() -> bool:
            waits = self.ledger.next_deadline_s() is not None or load.is_resting()
            return not (through_delays and waits)

        await self.clock.run_until(is_quiet)

    def drop_connections(self) -> None:
        """Break every connection, as a network does; each is made anew at once."""
        for consumer in self._consumers:
            consumer.reconnect()

    async def stop(self) -> None:
        """Stop the timer, and give the loop its own time back."""
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        self.clock.stop()

    def subscribe(
        self,
        topic: str,
        channel: str,
        lease_s: float | None,
        on_message: Callable[[Any], None],
        on_settle_failure: Callable[[str], None],
    ) -> "Line":
        """Return a subscribed connection; a lease of None is nsqd's own."""
        consumer = self.ledger.subscribe(topic, channel, now_s=self.now_s(), msg_timeout_s=lease_s)
        line = self._lines[consumer] = Line(self, consumer, on_message, on_settle_failure)
        return line

    def unsubscribe(self, line: "Line") -> None:
        """End a connection; what it holds waits for its lease, as with nsqd."""
        self.ledger.unsubscribe(line.consumer)
        del self._lines[line.consumer]
        self.changed()

    def changed(self) -> None:
        """Deliver in the next turn of the loop, as messages come off a socket."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._soon = None
        now_s = self.now_s()
        self.ledger.expire(now_s=now_s)
        for consumer, copy in self.ledger.deliveries(now_s=now_s):
            self._lines[consumer].deliver(copy, now_s)
        if self._timer is not None:
            self._timer.cancel()
        due_s = self.ledger.next_deadline_s()
        self._timer = None if due_s is None else asyncio.get_running_loop().call_at(due_s, self._deliver)


class Line:
    """One subscribed connection.

    Args:
        broker: Its other end.
        consumer: What the ledger knows it as.
        on_message: Called with each delivery.
        on_settle_failure: Called with the command that came too late.
    """

    def __init__(
        self,
        broker: "LedgerBroker",
        consumer: Consumer,
        on_message: Callable[[Any], None],
        on_settle_failure: Callable[[str], None],
    ) -> None:
        self.consumer = consumer
        self.max_msg_timeout_s = broker.ledger.limits.max_msg_timeout_s
        self.is_open = True
        self._broker = broker
        self._on_message = on_message
        self._on_settle_failure = on_settle_failure

    def deliver(self, copy: Copy, received_s: float) -> None:
        """Hand on a delivery."""
        self._on_message(LedgerMessage(copy, received_s, self))

    def ready(self, count: int) -> None:
        """RDY."""
        self._broker.ledger.ready(self.consumer, count)
        self._broker.changed()

    def settle(self, command: str, answer: Callable[[Ledger, float], None]) -> bool:
        """Answer a delivery; False if the connection is gone."""
        if not self.is_open:
            return False
        try:
            answer(self._broker.ledger, self._broker.now_s())
        except SettleError:
            self._on_settle_failure(command)
        self._broker.changed()
        return True

    def close(self) -> None:
        """End it, once."""
        if self.is_open:
            self.is_open = False
            self._broker.unsubscribe(self)


class LedgerMessage:
    """A delivery from the ledger; attributes and answers as of ``nsqkit.nsq.Message``."""

    def __init__(self, copy: Copy, received_s: float, line: Line) -> None:
        self.id = copy.message.id
        self.body = copy.message.body
        self.timestamp_ns = copy.message.timestamp_ns
        self.attempts = copy.attempts
        self.address = ADDRESS
        self.topic = copy.channel.topic_name
        self.received_s = received_s
        self.lease_s = line.consumer.msg_timeout_s
        self.max_lease_s = line.max_msg_timeout_s
        self._line = line
        self._is_settled = False

    def finish(self) -> bool:
        """FIN; False if the connection is gone.

        Raises:
            RuntimeError: If it was finished or requeued before.
        """
        self._settle_once()
        return self._line.settle("FIN", lambda ledger, _: ledger.finish(self._line.consumer, self.id))

    def requeue(self, delay_s: float) -> bool:
        """REQ with a delay in seconds, rounded up to milliseconds; False if the connection is gone.

        Raises:
            RuntimeError: If it was finished or requeued before.
            ValueError: If *delay_s* is not finite.
        """
        exact_s = whole_ms(delay_s) / 1000
        self._settle_once()
        return self._line.settle(
            "REQ", lambda ledger, now_s: ledger.requeue(self._line.consumer, self.id, exact_s, now_s=now_s)
        )

    def touch(self) -> bool:
        """TOUCH; False if the connection is gone."""
        return self._line.settle(
            "TOUCH", lambda ledger, now_s: ledger.touch(self._line.consumer, self.id, now_s=now_s)
        )

    def is_lost(self) -> bool:
        """Return whether the connection is gone."""
        return not self._line.is_open

    def forget(self) -> None:
        """Send nothing: the ledger knows what it has in flight."""

    def _settle_once(self) -> None:
        if self._is_settled:
            raise RuntimeError(f"message {self.id!r} was already finished or requeued")
        self._is_settled = True


class LedgerConsumer:
    """A handler's consumer on the ledger; subscribes as ``nsqkit.nsq.Consumer`` does, a line a topic.

    Args:
        broker: Where to.
        options: Topics, channel, lease and max_in_flight count here. RDY is always shared out in full, and
            there is one nsqd.
        on_message: Called with each delivery.
        on_settle_failure: Called with the command that came too late.
        log: Unused: nothing happens to connections unless a test wants it.
    """

    problems: tuple[str, ...] = ()
    ready = True

    def __init__(
        self,
        broker: LedgerBroker,
        options: ConsumerOptions,
        *,
        on_message: Callable[[Any], None],
        on_settle_failure: Callable[[str], None],
        log: Any,
    ) -> None:
        self._broker = broker
        self._topics = options.topics
        self._channel = options.channel
        self._lease_s = options.connection.msg_timeout_s
        self._max_in_flight = options.max_in_flight
        self._callbacks = (on_message, on_settle_failure)
        self._is_paused = False
        self._lines: tuple[Line, ...] = ()

    def start(self) -> None:
        """Subscribe."""
        self._lines = tuple(
            self._broker.subscribe(topic, self._channel, self._lease_s, *self._callbacks)
            for topic in self._topics
        )
        self._share_ready()

    async def wait_ready(self) -> None:
        """Return at once: it is."""

    def subscribed_to(self, address: str) -> bool:
        """Return True: there is no other nsqd."""
        return True

    def poll_now(self) -> None:
        """Do nothing: there is no nsqlookupd."""

    def pause(self) -> None:
        """Stop the intake (RDY 0)."""
        self._is_paused = True
        self._share_ready()

    def resume(self) -> None:
        """End a pause."""
        self._is_paused = False
        self._share_ready()

    def trial(self) -> None:
        """Take one message more than is held."""
        self._is_paused = False
        for line in self._lines:
            line.ready(line.consumer.in_flight_count + 1)

    def reconnect(self) -> None:
        """Lose every connection, and make it anew."""
        for line in self._lines:
            line.close()
        self.start()

    async def stop_intake(self) -> None:
        """End the intake for good (CLS)."""
        for line in self._lines:
            self._broker.ledger.close(line.consumer)

    async def close(self, timeout_s: float) -> None:
        """Disconnect."""
        for line in self._lines:
            line.close()

    def _share_ready(self) -> None:
        topics = len(self._topics)
        budget = 0 if self._is_paused else self._max_in_flight
        shares = rdy_shares(budget, topics, trickles=topics - 1)
        for line, share in zip(self._lines, shares, strict=True):
            # Where there is less than one each, nsqkit.nsq.Consumer lets them take turns. Here each gets
            # one, and the intake starts no more at a time than it may.
            line.ready(share or min(budget, 1))
