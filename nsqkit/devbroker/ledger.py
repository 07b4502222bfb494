"""The state of the embedded broker: topics, channels, consumers, and where each message is.

Pure: a state machine whose calls carry the time. No input or output, no waiting, no random numbers
and no clock of its own. The test harness and the servers drive the same class.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from nsqkit.devbroker.channel import Channel
from nsqkit.devbroker.consumer import Consumer
from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.message import Delivery, Message
from nsqkit.devbroker.timers import Timers
from nsqkit.devbroker.topic import Topic


class Change(NamedTuple):
    """A topic, or a channel of a topic, that was created or deleted."""

    topic: str
    channel: str = ""
    exists: bool = True


class Ledger:
    """All of the broker's state; only these methods change it.

    After any change, call ``deliveries()`` or ``deliver()`` and send the result. At
    ``next_deadline_s()``, call ``expire()``. Every ``now_s`` is in seconds on one clock of the caller
    that never goes back.

    Args:
        limits: The broker's limits; None for nsqd's defaults.
        draw: Returns a number in 0..99, for consumers with a sample rate; None gives them everything.

    Attributes:
        on_change: Called when a topic or channel was created or deleted.
        published: How many messages were published so far; message ids count up with it.
    """

    def __init__(self, limits: Limits | None = None, draw: Callable[[], int] | None = None) -> None:
        self.limits = limits or Limits()
        self._draw = draw or (lambda: 0)
        self.topics: dict[str, Topic] = {}
        self.on_change: Callable[[Change], None] = lambda _change: None
        self._timers = Timers()
        self._changed: dict[Channel, None] = {}
        self.published = 0

    def topic(self, name: str) -> Topic:
        """Return a topic, created if it does not exist. The name must be valid."""
        topic = self.topics.get(name)
        if topic is None:
            topic = self.topics[name] = Topic(name, self.limits)
            self.on_change(Change(name))
        return topic

    def channel(self, topic_name: str, name: str, *, now_s: float) -> Channel:
        """Return a channel, created if it does not exist; a topic's first channel gets the backlog."""
        topic = self.topic(topic_name)
        channel = topic.channels.get(name)
        if channel is None:
            channel = Channel(topic_name, name, self.limits, self._timers, self._changed)
            topic.channels[name] = channel
            self.on_change(Change(topic_name, name))
            topic.fan_out(now_s=now_s)
        return channel

    def publish(
        self,
        topic_name: str,
        bodies: Iterable[bytes],
        *,
        timestamp_ns: int,
        now_s: float,
        defer_s: float = 0.0,
    ) -> None:
        """Add messages to a topic, created if it does not exist.

        Args:
            topic_name: A valid name.
            bodies: n bodies, order kept.
            timestamp_ns: Wall clock, nanoseconds since 1970; every delivery has it.
            now_s: The time.
            defer_s: Seconds that each channel waits before it delivers; 0 or more.
        """
        topic = self.topic(topic_name)
        for body in bodies:
            self.published += 1
            message = Message(b"%016x" % self.published, timestamp_ns, body, defer_s)
            topic.put(message, now_s=now_s)

    def subscribe(
        self,
        topic_name: str,
        channel_name: str,
        *,
        now_s: float,
        msg_timeout_s: float | None = None,
        sample_rate: int = 0,
    ) -> Consumer:
        """Add a consumer to a channel, created if it does not exist; it gets nothing before ``ready``.

        Args:
            topic_name: A valid name.
            channel_name: A valid name.
            now_s: The time.
            msg_timeout_s: Seconds until a delivery times out; None is the broker's default.
            sample_rate: Percentage of the channel's deliveries that it gets, 0..99; 0 for all.
        """
        channel = self.channel(topic_name, channel_name, now_s=now_s)
        timeout_s = self.limits.msg_timeout_s if msg_timeout_s is None else msg_timeout_s
        consumer = Consumer(channel, timeout_s, sample_rate=sample_rate)
        channel.consumers.append(consumer)
        return consumer

    def unsubscribe(self, consumer: Consumer) -> None:
        """Remove a consumer; as in nsqd, its messages in flight are requeued only when they time out.

        An ephemeral channel is deleted with its last consumer, an ephemeral topic with its last channel.
        """
        channel = consumer.channel
        if consumer not in channel.consumers:
            return
        channel.consumers.remove(consumer)
        if channel.ephemeral and not channel.consumers:
            self.delete_channel(channel.topic_name, channel.name)

    def ready(self, consumer: Consumer, count: int) -> None:
        """RDY: let *count* messages be in flight to a consumer; ignored after its CLS."""
        consumer.channel.ready(consumer, count)

    def close(self, consumer: Consumer) -> None:
        """CLS: deliver nothing more to a consumer; it may still settle its messages in flight."""
        consumer.channel.ready(consumer, 0)
        consumer.closing = True

    def finish(self, consumer: Consumer, message_id: bytes) -> None:
        """FIN a delivery.

        Raises:
            SettleError: If the message is not in flight to *consumer*.
        """
        consumer.channel.finish(consumer, message_id)

    def requeue(self, consumer: Consumer, message_id: bytes, delay_s: float, *, now_s: float) -> None:
        """REQ a delivery: queue it at the tail, or defer it by up to max_req_timeout_s.

        Raises:
            SettleError: If the message is not in flight to *consumer*.
        """
        consumer.channel.requeue(consumer, message_id, delay_s, now_s=now_s)

    def touch(self, consumer: Consumer, message_id: bytes, *, now_s: float) -> None:
        """TOUCH a delivery: start its timeout again, up to max_msg_timeout_s after the delivery.

        Raises:
            SettleError: If the message is not in flight to *consumer*.
        """
        consumer.channel.touch(consumer, message_id, now_s=now_s)

    def deliveries(self, *, now_s: float) -> list[Delivery]:
        """Put in flight every message that may be delivered now, and return the deliveries to send."""
        return list(self.deliver(now_s=now_s))

    def deliver(self, *, now_s: float) -> Iterator[Delivery]:
        """Put in flight every message that may be delivered now, one by one, and yield each to be sent.

        Sending one may ``block`` its consumer, which then gets no more. Exhaust the iterator.
        """
        while self._changed:
            channel = next(iter(self._changed))
            del self._changed[channel]
            yield from channel.deliver(now_s=now_s, draw=self._draw)

    def block(self, consumer: Consumer, *, blocked: bool) -> None:
        """Set whether a consumer gets nothing, because it does not read what it was sent."""
        consumer.blocked = blocked
        self._changed[consumer.channel] = None

    def next_deadline_s(self) -> float | None:
        """Return when ``expire`` must be called next; None if nothing has a deadline."""
        return self._timers.next_deadline_s()

    def expire(self, *, now_s: float) -> int:
        """Requeue deliveries that timed out, and queue deferred messages that are due.

        Returns:
            How many messages became deliverable.
        """
        fired = 0
        while (copy := self._timers.pop_due(now_s)) is not None:
            copy.channel.fire(copy)
            fired += 1
        return fired

    def registered(self) -> Iterator[Change]:
        """Yield every channel, and every topic that has none."""
        for topic in self.topics.values():
            if not topic.channels:
                yield Change(topic.name)
            for name in topic.channels:
                yield Change(topic.name, name)

    def start_topic(self, topic: Topic, channels: Iterable[str], *, now_s: float) -> None:
        """Create a new topic's first channels and give them its messages; does nothing if it was deleted."""
        if self.topics.get(topic.name) is topic:
            for name in channels:
                self.channel(topic.name, name, now_s=now_s)
            topic.started = True
            topic.fan_out(now_s=now_s)

    def pause_topic(self, name: str, *, paused: bool, now_s: float) -> None:
        """Pause or unpause a topic; a paused one keeps its messages from its channels.

        Raises:
            KeyError: If there is no such topic.
        """
        topic = self.topics[name]
        topic.paused = paused
        topic.fan_out(now_s=now_s)

    def empty_topic(self, name: str) -> None:
        """Drop a topic's backlog; the messages of its channels stay.

        Raises:
            KeyError: If there is no such topic.
        """
        self.topics[name].backlog.clear()

    def delete_topic(self, name: str) -> tuple[Consumer, ...]:
        """Delete a topic, its channels and all their messages.

        Returns:
            The consumers whose connections must be closed.

        Raises:
            KeyError: If there is no such topic.
        """
        topic = self.topics.pop(name)
        consumers = tuple(c for channel in topic.channels.values() for c in self._discard(channel))
        self.on_change(Change(name, exists=False))
        return consumers

    def delete_channel(self, topic_name: str, name: str) -> tuple[Consumer, ...]:
        """Delete a channel and its messages; an ephemeral topic is deleted with its last channel.

        Returns:
            The consumers whose connections must be closed.

        Raises:
            KeyError: If there is no such channel.
        """
        topic = self.topics[topic_name]
        consumers = self._discard(topic.channels.pop(name))
        if topic.ephemeral and not topic.channels:
            del self.topics[topic_name]
            self.on_change(Change(topic_name, exists=False))
        return consumers

    def _discard(self, channel: Channel) -> tuple[Consumer, ...]:
        consumers = tuple(channel.consumers)
        channel.empty()
        channel.consumers.clear()
        self._changed.pop(channel, None)
        self.on_change(Change(channel.topic_name, channel.name, exists=False))
        return consumers
