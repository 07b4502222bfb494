"""One channel: its copies of messages, queued, in flight or deferred.

Pure: the time is passed in; it sends nothing and knows no sockets.
"""

from collections import deque
from collections.abc import Callable, Iterator

from nsqkit.devbroker.consumer import Consumer
from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.message import Copy, Delivery, Message
from nsqkit.devbroker.timers import Timers
from nsqkit.policy.names import is_ephemeral

_MAX_ATTEMPTS = 0xFFFF


class SettleError(Exception):
    """A FIN, REQ or TOUCH for a message that is not in flight to this consumer.

    Args:
        reason: nsqd's text for the error.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Channel:
    """The copies of one channel; each is in one of ``queued``, ``in_flight`` and ``deferred``.

    Args:
        topic_name: The name of its topic.
        name: The channel's name, already checked.
        limits: The broker's limits.
        timers: The deadlines of all channels of the ledger.
        changed: The ledger's ordered set of channels that may have something to deliver.

    Source:
        nsqd/channel.go.
    """

    def __init__(
        self, topic_name: str, name: str, limits: Limits, timers: Timers, changed: dict["Channel", None]
    ) -> None:
        self.topic_name = topic_name
        self.name = name
        self.ephemeral = is_ephemeral(name)
        self.paused = False
        self.queued: deque[Copy] = deque()
        self.in_flight: dict[bytes, Copy] = {}
        self.deferred: dict[bytes, Copy] = {}
        self.consumers: list[Consumer] = []
        self.message_count = 0
        self.requeue_count = 0
        self.timeout_count = 0
        self._limits = limits
        self._timers = timers
        self._changed = changed

    def put(self, message: Message, *, now_s: float) -> None:
        """Add a copy of a message; the delay of a deferred one starts now."""
        self.message_count += 1
        copy = Copy(message, self)
        if message.defer_s > 0:
            self._defer(copy, now_s + message.defer_s)
        else:
            self._queue(copy)

    def restore(self, message: Message, attempts: int) -> None:
        """Queue a copy that an earlier broker saved; as in nsqd, message_count does not include it."""
        copy = Copy(message, self)
        copy.attempts = attempts
        self._queue(copy)

    def ready(self, consumer: Consumer, count: int) -> None:
        """Set how many messages may be in flight to a consumer (RDY); ignored after its CLS."""
        if not consumer.closing:
            consumer.ready_count = count
            self._changed[self] = None

    def finish(self, consumer: Consumer, message_id: bytes) -> None:
        """FIN: remove a message that was processed.

        Raises:
            SettleError: If the message is not in flight to *consumer*.
        """
        self._release(consumer, message_id)
        consumer.finish_count += 1

    def requeue(self, consumer: Consumer, message_id: bytes, delay_s: float, *, now_s: float) -> None:
        """REQ: queue a message again at the tail, or defer it by *delay_s* first.

        Raises:
            SettleError: If the message is not in flight to *consumer*.
        """
        copy = self._release(consumer, message_id)
        consumer.requeue_count += 1
        self.requeue_count += 1
        if delay_s > 0:
            self._defer(copy, now_s + min(delay_s, self._limits.max_req_timeout_s))
        else:
            self._queue(copy)

    def touch(self, consumer: Consumer, message_id: bytes, *, now_s: float) -> None:
        """TOUCH: start a delivery's timeout again, up to max_msg_timeout_s after the delivery.

        Raises:
            SettleError: If the message is not in flight to *consumer*.
        """
        copy = self._in_flight_to(consumer, message_id)
        cap_s = copy.delivered_s + self._limits.max_msg_timeout_s
        self._timers.start(copy, min(now_s + consumer.msg_timeout_s, cap_s))

    def fire(self, copy: Copy) -> None:
        """Queue a copy whose deadline has come: its delivery timed out, or its deferral is over."""
        if copy.consumer is None:
            del self.deferred[copy.message.id]
        else:
            del self.in_flight[copy.message.id]
            copy.consumer.in_flight_count -= 1
            copy.consumer = None
            self.timeout_count += 1
        self._queue(copy)

    def deliver(self, *, now_s: float, draw: Callable[[], int]) -> Iterator[Delivery]:
        """Put queued copies in flight, one to each ready consumer in turn.

        Args:
            now_s: The time.
            draw: Returns a number in 0..99, for consumers with a sample rate.

        Yields:
            The deliveries to send, in order, with the attempt counted and the timeout started. A
            consumer that becomes ``blocked`` meanwhile gets no more.
        """
        if self.paused or not self.queued:
            return
        consumer = None
        ready = deque(c for c in self.consumers if c.is_ready)
        while ready and self.queued:
            consumer = ready.popleft()
            copy = self.queued.popleft()
            if (
                not consumer.sample_rate or draw() <= consumer.sample_rate
            ):  # 1 % more than asked for, as in nsqd
                yield Delivery(consumer, self._start_delivery(copy, consumer, now_s))
            if consumer.is_ready:
                ready.append(consumer)
        if consumer is not None and len(self.consumers) > 1:
            self._turn_after(consumer)

    def empty(self) -> None:
        """Drop every message: queued, deferred and in flight."""
        for copy in (*self.in_flight.values(), *self.deferred.values()):
            self._timers.stop(copy)
            copy.consumer = None
        self.queued.clear()
        self.in_flight.clear()
        self.deferred.clear()
        for consumer in self.consumers:
            consumer.in_flight_count = 0
        self._changed[self] = None

    def pause(self, *, paused: bool) -> None:
        """Stop or resume deliveries; messages in flight can still be finished or requeued."""
        self.paused = paused
        self._changed[self] = None

    def _start_delivery(self, copy: Copy, consumer: Consumer, now_s: float) -> Copy:
        copy.attempts = (copy.attempts + 1) & _MAX_ATTEMPTS  # a uint16 on the wire: nsqd's wraps too
        copy.consumer = consumer
        copy.delivered_s = now_s
        self.in_flight[copy.message.id] = copy
        self._timers.start(copy, now_s + consumer.msg_timeout_s)
        consumer.in_flight_count += 1
        consumer.message_count += 1
        return copy

    def _turn_after(self, consumer: Consumer) -> None:
        turn = self.consumers.index(consumer) + 1
        self.consumers = self.consumers[turn:] + self.consumers[:turn]

    def _in_flight_to(self, consumer: Consumer, message_id: bytes) -> Copy:
        copy = self.in_flight.get(message_id)
        if copy is None:
            raise SettleError("ID not in flight")
        if copy.consumer is not consumer:
            raise SettleError("client does not own message")
        return copy

    def _release(self, consumer: Consumer, message_id: bytes) -> Copy:
        copy = self._in_flight_to(consumer, message_id)
        del self.in_flight[message_id]
        self._timers.stop(copy)
        copy.consumer = None
        consumer.in_flight_count -= 1
        self._changed[self] = None
        return copy

    def _defer(self, copy: Copy, deadline_s: float) -> None:
        self.deferred[copy.message.id] = copy
        self._timers.start(copy, deadline_s)

    def _queue(self, copy: Copy) -> None:
        if self.ephemeral and len(self.queued) >= self._limits.mem_queue_size:
            return  # nsqd has no disk for these either: it drops the message
        self.queued.append(copy)
        self._changed[self] = None
