"""The pure ledger as an engine, with a clock that the suite moves, so that no rule waits."""

from collections import deque

from nsqkit.devbroker.channel import SettleError
from nsqkit.devbroker.consumer import Consumer
from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.message import Copy
from nsqkit.testing.contract.engine import Capability, Counts, Received

TIMESTAMP_NS = 1_700_000_000_000_000_000


class LedgerEngine:
    """A ``Ledger`` behind the interface of the contract suite.

    Args:
        limits: The broker's limits; None for nsqd's defaults.
    """

    capabilities: frozenset[Capability] = frozenset()

    def __init__(self, limits: Limits | None = None) -> None:
        self.ledger = Ledger(limits)
        self.now_s = 0.0
        self._subscribers: dict[Consumer, LedgerSubscriber] = {}

    def deliver(self) -> None:
        """Apply all deadlines that are due, and deliver what is deliverable."""
        self.ledger.expire(now_s=self.now_s)
        for consumer, copy in self.ledger.deliveries(now_s=self.now_s):
            self._subscribers[consumer].take(copy)

    async def publish(self, topic: str, *bodies: bytes) -> None:
        """Publish bodies, order kept."""
        self.ledger.publish(topic, bodies, timestamp_ns=TIMESTAMP_NS, now_s=self.now_s)
        self.deliver()

    async def publish_deferred(self, topic: str, body: bytes, delay_ms: int) -> None:
        """Publish one deferred body."""
        self.ledger.publish(
            topic, [body], timestamp_ns=TIMESTAMP_NS, now_s=self.now_s, defer_s=delay_ms / 1000
        )
        self.deliver()

    async def create_channel(self, topic: str, channel: str) -> None:
        """Create a topic and a channel, unless they exist."""
        self.ledger.channel(topic, channel, now_s=self.now_s)

    async def subscribe(
        self, topic: str, channel: str, *, msg_timeout_ms: int = 60_000
    ) -> "LedgerSubscriber":
        """Subscribe a new client."""
        consumer = self.ledger.subscribe(
            topic, channel, now_s=self.now_s, msg_timeout_s=msg_timeout_ms / 1000
        )
        subscriber = self._subscribers[consumer] = LedgerSubscriber(self, consumer)
        return subscriber

    async def pause(self, topic: str, channel: str | None = None) -> None:
        """Pause a channel, or a whole topic."""
        self._pause(topic, channel, paused=True)

    async def unpause(self, topic: str, channel: str | None = None) -> None:
        """End a pause."""
        self._pause(topic, channel, paused=False)

    async def empty(self, topic: str, channel: str) -> None:
        """Drop all messages of a channel."""
        self.ledger.topics[topic].channels[channel].empty()

    async def counts(self, topic: str, channel: str) -> Counts | None:
        """Return the counts of a channel; None if it does not exist."""
        known = self.ledger.topics.get(topic)
        found = known.channels.get(channel) if known else None
        if found is None:
            return None
        return Counts(
            depth=len(found.queued),
            in_flight=len(found.in_flight),
            deferred=len(found.deferred),
            message=found.message_count,
            requeue=found.requeue_count,
            timeout=found.timeout_count,
        )

    async def topic_depth(self, topic: str) -> int | None:
        """Return the depth of a topic itself, without its channels; None if it does not exist."""
        known = self.ledger.topics.get(topic)
        return len(known.backlog) if known else None

    async def pass_ms(self, milliseconds: int) -> None:
        """Move the clock."""
        self.now_s += milliseconds / 1000
        self.deliver()

    async def exchange(self, said: bytes) -> tuple[list[bytes], bool]:
        """Refuse: a ledger has no wire."""
        raise NotImplementedError(said)

    def _pause(self, topic: str, channel: str | None, *, paused: bool) -> None:
        if channel is None:
            self.ledger.pause_topic(topic, paused=paused, now_s=self.now_s)
        else:
            self.ledger.topics[topic].channels[channel].pause(paused=paused)
        self.deliver()


class LedgerSubscriber:
    """One consumer of the ledger.

    Attributes:
        unread: Deliveries that ``receive`` has not returned yet, in order.
    """

    def __init__(self, engine: LedgerEngine, consumer: Consumer) -> None:
        self._engine = engine
        self._consumer = consumer
        self.unread: deque[Received] = deque()
        self._refused: list[str] = []

    def take(self, copy: Copy) -> None:
        """Receive a delivery from the engine."""
        message = copy.message
        self.unread.append(Received(message.id, message.body, copy.attempts, message.timestamp_ns))

    async def ready(self, count: int) -> None:
        """RDY."""
        self._engine.ledger.ready(self._consumer, count)
        self._engine.deliver()

    async def receive(self) -> Received:
        """Return the next delivery."""
        if not self.unread:
            raise AssertionError("nothing was delivered")
        return self.unread.popleft()

    async def receives_nothing(self) -> bool:
        """Return whether nothing has arrived."""
        return not self.unread

    async def finish(self, received: Received) -> None:
        """FIN."""
        try:
            self._engine.ledger.finish(self._consumer, received.id)
        except SettleError:
            self._refused.append("FIN")
        self._engine.deliver()

    async def requeue(self, received: Received, delay_ms: int) -> None:
        """REQ."""
        engine = self._engine
        try:
            engine.ledger.requeue(self._consumer, received.id, delay_ms / 1000, now_s=engine.now_s)
        except SettleError:
            self._refused.append("REQ")
        engine.deliver()

    async def touch(self, received: Received) -> None:
        """TOUCH."""
        try:
            self._engine.ledger.touch(self._consumer, received.id, now_s=self._engine.now_s)
        except SettleError:
            self._refused.append("TOUCH")

    async def refusals(self) -> list[str]:
        """Return the commands that were refused."""
        return self._refused

    async def stop(self) -> None:
        """CLS."""
        self._engine.ledger.close(self._consumer)

    async def disconnect(self) -> None:
        """Disconnect."""
        self._engine.ledger.unsubscribe(self._consumer)
        self._engine.deliver()
