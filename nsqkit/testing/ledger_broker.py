"""The harness's NSQ without sockets: the embedded broker's ledger on the virtual clock."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nsqkit.devbroker.ledger import Ledger
from nsqkit.errors import PublishError
from nsqkit.nsq import ConsumerOptions
from nsqkit.nsq.message import whole_ms
from nsqkit.policy.names import topic_problem
from nsqkit.testing.broker import HandlerActivity
from nsqkit.testing.clock import VirtualClock
from nsqkit.testing.errors import HarnessError
from nsqkit.testing.ledger_connection import LedgerConnection
from nsqkit.testing.ledger_consumer import LedgerConsumer
from nsqkit.testing.ledger_message import ADDRESS

if TYPE_CHECKING:
    from nsqkit.devbroker.consumer import Consumer


MOST_SETTLE_S = 7 * 86400.0
"""Longest virtual time in seconds that one ``settle(through_delays=True)`` lets pass."""


class LedgerBroker:
    """One nsqd in this process, with nsqd's own limits, under a virtual clock.

    Args:
        active: Returns how many messages the handlers are working on.
    """

    address = ADDRESS

    def __init__(self, active: Callable[[], int]) -> None:
        self.clock = VirtualClock(lambda: active() > 0)
        self.ledger = Ledger()
        self.max_msg_bytes = self.ledger.limits.max_msg_bytes
        self.now_s = self.clock.now_s
        self.now_ns = self.clock.now_ns
        self._connections: dict[Consumer, LedgerConnection] = {}
        self._consumers: list[LedgerConsumer] = []
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, channels: Sequence[tuple[str, str]]) -> None:
        """Take over the loop's time, and create the channels."""
        self.clock.start()
        for topic, channel in channels:
            await self.ensure_channel(ADDRESS, topic, channel)

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish one message.

        Raises:
            PublishError: If nsqd would refuse it; the error is permanent.
        """
        self._check(address, topic, body, defer_s)
        self.ledger.publish(
            topic,
            [body],
            timestamp_ns=self.now_ns(),
            now_s=self.now_s(),
            defer_s=whole_ms(defer_s) / 1000,
        )
        self.changed()

    def _check(self, address: str, topic: str, body: bytes, defer_s: float) -> None:
        problem = topic_problem(topic)
        longest_s = self.ledger.limits.max_req_timeout_s
        if not 1 <= len(body) <= self.max_msg_bytes:
            problem = f"a body has 1 to {self.max_msg_bytes} bytes, not {len(body)}"
        elif not 0 <= defer_s <= longest_s:
            problem = f"defer_s={defer_s!r} is not in 0..{longest_s:g}"
        if problem is not None:
            raise PublishError(topic, address, problem, True)  # noqa: FBT003 - a field, not a flag

    async def publish_many(self, address: str, topic: str, bodies: Sequence[bytes]) -> None:
        """Publish n messages, all or none.

        Raises:
            PublishError: If nsqd would refuse one of them; the error is permanent.
        """
        for body in bodies:
            self._check(address, topic, body, 0.0)
        for body in bodies:
            await self.publish(address, topic, body)

    async def ensure_channel(self, address: str, topic: str, channel: str) -> None:
        """Create a durable channel."""
        self.ledger.channel(topic, channel, now_s=self.now_s())
        self.changed()

    def make_consumer(
        self,
        options: ConsumerOptions,
        *,
        on_messages: Callable[[Any], None],
        on_settle_failure: Callable[[str], None],
        on_lost: Callable[[], None] = lambda: None,
        **_for_sockets: Any,
    ) -> LedgerConsumer:
        """Return a handler's consumer; see ``Subscription``.

        Args:
            options: The subscriptions; of the connection's options only the message timeout counts here.
            on_messages: Called with each delivery, in a list.
            on_settle_failure: Called with the command that was refused, such as ``FIN``.
            on_lost: Called when a connection has ended.
        """

        def connect(topic: str) -> LedgerConnection:
            lease_s = options.connection.msg_timeout_s
            return self.subscribe(topic, options.channel, lease_s, on_messages, on_settle_failure)

        consumer = LedgerConsumer(connect, options.topics, options.max_in_flight, on_lost=on_lost)
        self._consumers.append(consumer)
        return consumer

    async def settle(self, activity: HandlerActivity, *, through_delays: bool) -> None:
        """Return when nothing runs and nothing is due; see ``Broker``."""
        limit_s = self.now_s() + MOST_SETTLE_S

        def is_waiting() -> bool:
            return through_delays and (self.ledger.next_deadline_s() is not None or activity.is_paused())

        await self.clock.run_until(lambda: not is_waiting() or self.now_s() > limit_s)
        if is_waiting():
            raise HarnessError(
                "messages still wait after a week of virtual time: an outage (Pause, an open breaker or kill "
                "switch) keeps them until a handler succeeds; end it in the test, or let time pass with "
                "h.clock.advance(…) and h.settle()"
            )

    def drop_connections(self) -> None:
        """Break every connection, as a network failure does; each reconnects at once."""
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
        on_messages: Callable[[Any], None],
        on_settle_failure: Callable[[str], None],
    ) -> LedgerConnection:
        """Return a subscribed connection; a lease of None is nsqd's default message timeout."""
        consumer = self.ledger.subscribe(topic, channel, now_s=self.now_s(), msg_timeout_s=lease_s)
        connection = self._connections[consumer] = LedgerConnection(
            self, consumer, on_messages, on_settle_failure
        )
        return connection

    def unsubscribe(self, connection: LedgerConnection) -> None:
        """End a connection; as in nsqd, its messages in flight come back when their lease ends."""
        self.ledger.unsubscribe(connection.consumer)
        del self._connections[connection.consumer]
        self.changed()

    def changed(self) -> None:
        """Deliver in the next turn of the event loop, as messages from a socket do."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._soon = None
        now_s = self.now_s()
        self.ledger.expire(now_s=now_s)
        for handler in self._consumers:
            handler.offer_trial()
        for consumer, copy in self.ledger.deliveries(now_s=now_s):
            self._connections[consumer].deliver(copy, now_s)
        if self._timer is not None:
            self._timer.cancel()
        due_s = self.ledger.next_deadline_s()
        self._timer = None if due_s is None else asyncio.get_running_loop().call_at(due_s, self._deliver)
