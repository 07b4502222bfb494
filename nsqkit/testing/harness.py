"""The harness: real handler classes under test, inside the classes that run them in production."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal, Self, TypeVar

from nsqkit.errors import HandlerError
from nsqkit.handler.extension import Layer
from nsqkit.handler.group import Handlers, ungrouped
from nsqkit.handler.handler import AnyHandler
from nsqkit.handler.outgoing import Preparer
from nsqkit.handler.spec import HandlerSpec
from nsqkit.handler.wall_clock import WallClock
from nsqkit.loading.checks import check
from nsqkit.loading.modules import resources_in
from nsqkit.nsq import ConsumerOptions
from nsqkit.runtime.clock import Clock as RuntimeClock
from nsqkit.runtime.drain import drain
from nsqkit.runtime.resources import ReadyHandler, Resources
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs
from nsqkit.telemetry.metrics import Metrics
from nsqkit.testing.broker import Broker, HandlerActivity
from nsqkit.testing.clock import Clock
from nsqkit.testing.found import HistoryError
from nsqkit.testing.journal import Journal
from nsqkit.testing.ledger_broker import LedgerBroker
from nsqkit.testing.nsqd_broker import NsqdBroker
from nsqkit.testing.questions import Questions
from nsqkit.testing.recording_publisher import PublishFaults, RecordingPublisher
from nsqkit.testing.stand_ins import stand_in, with_stand_ins
from nsqkit.worker.parts import Consumes, WorkerParts
from nsqkit.worker.subscription import Subscription

H = TypeVar("H", bound=AnyHandler[Any])
BrokerName = Literal["ledger", "nsqd"]
SOURCE = "test"
"""The ``source`` of events that a test publishes."""


class Harness(Questions):
    """Handlers under test: an async context manager.

    A worker's own classes encode, deliver, decode, dispatch, settle and count their messages. By
    default nsqd is a ledger in this process, and time passes only when nothing else can happen: an
    hour of retries takes milliseconds, and so does a handler's timeout. Jitter is 0.

    Args:
        handlers: Handler classes and sagas, one or more.
        resources: Stand-ins by the type that handlers or resources ask for. Other resources are opened
            as in a worker, from the modules of the handlers.
        settings: The settings; None for the defaults. Environment and file are not read.
        middleware: Middleware around every handler call, outermost first.
        broker: ``"ledger"``, or ``"nsqd"`` for a real nsqd and real time; None for *default_broker*.

    Attributes:
        settings: The settings.
        wall_clock: The time of day, with which rows of a database are written.
        default_broker: ``"ledger"``; the class of the fixture has the value of ``--nsqkit-broker``.

    Raises:
        HandlerError: If the handlers cannot run together; the error lists all problems.
        HarnessError: If no handler and no resource asks for a stand-in.
    """

    default_broker: ClassVar[BrokerName] = "ledger"

    def __init__(
        self,
        handlers: Handlers,
        *,
        resources: Mapping[Any, object] | None = None,
        settings: Settings | None = None,
        middleware: Sequence[Layer] = (),
        broker: BrokerName | None = None,
    ) -> None:
        specs = tuple(handler.spec for handler in ungrouped(handlers))
        self.settings = settings or Settings()
        self.wall_clock = WallClock(lambda: self._broker.now_ns() / 1e9, is_virtual=True)
        self._log = logs.get_logger()
        known = resources_in([sys.modules[spec.handler.__module__] for spec in specs])
        clock = stand_in(WallClock, self.wall_clock, "clock")
        self._resources = (*with_stand_ins(specs, known, resources or {}), clock)
        if problems := check(specs, self._resources, self.settings, middleware):
            raise HandlerError(tuple(problems))
        self._channels = tuple((topic, spec.channel) for spec in specs for topic in spec.topics)
        topics = frozenset(topic for topic, _ in self._channels)
        super().__init__(specs, Journal(lambda: self.clock.elapsed_s, topics))
        self._middleware = tuple(middleware)
        self._broker_name = broker or self.default_broker
        self._broker: Broker
        self._faults = PublishFaults()
        self._ready: list[ReadyHandler] = []
        self._subscriptions: tuple[Subscription, ...] = ()
        self._stack = AsyncExitStack()
        self._activity = HandlerActivity(
            active=lambda: sum(each.intake.active for each in self._subscriptions),
            is_paused=lambda: any(each.resumes_by_itself for each in self._subscriptions),
            longest_wait_s=self._journal.longest_wait_s,
        )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            on_nsqd = self._broker_name == "nsqd"
            self._broker = NsqdBroker(self.settings) if on_nsqd else LedgerBroker(self._activity.active)
            resources = Resources(self._resources, self.settings)
            stack.push_async_callback(resources.close)
            for spec in self._specs:
                self._ready.append(await resources.prepare(spec, self._middleware))
            await self._broker.start(self._channels)
            stack.push_async_callback(self._broker.stop)
            self._subscriptions = self._subscribe()
            stack.push_async_callback(self._drain)
            for subscription in self._subscriptions:
                subscription.consumer.start()
                await subscription.consumer.wait_ready()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        __tracebackhide__ = True
        try:
            await self._stack.aclose()
        finally:
            if error is not None and not isinstance(error, HistoryError):
                error.add_note(f"what happened to the messages:\n{self.history()}")
        if error is None:
            self._require_answers_used()

    @property
    def clock(self) -> Clock:
        """The clock: ``h.clock.advance(300)`` lets time pass during the next ``settle``."""
        return self._broker.clock

    def handler(self, kind: type[H]) -> H:
        """Return the instance of a handler class.

        Raises:
            HarnessError: If the class is not in this harness.
        """
        self._require_handler(kind)
        return next(each.handler for each in self._ready if type(each.handler) is kind)

    async def publish(self, event: object, *, topic: str | None = None, defer_s: float = 0.0) -> None:
        """Publish an event as another service would; it is handled by the next ``settle`` at the latest.

        Args:
            event: An instance of a class decorated with ``@event``.
            topic: The topic; by default that of its ``@event``.
            defer_s: Seconds that its delivery is deferred; 0 to 3600.

        Raises:
            EncodeError: If *event* is not an event, has no topic, or cannot be encoded as JSON.
            PublishError: If NSQ refuses the message.
        """
        preparer = Preparer(source=SOURCE, max_msg_bytes=self._broker.max_msg_bytes)
        if (ready := preparer.event(event, topic, defer_s)) is not None:
            await self._send(ready.topic, ready.body, event, defer_s)

    async def publish_raw(self, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish bytes as they are, as another producer might.

        Args:
            topic: The topic.
            body: The body, 1 byte to 1 MiB.
            defer_s: Seconds that its delivery is deferred; 0 to 3600.

        Raises:
            PublishError: If NSQ refuses the message.
        """
        await self._send(topic, body, None, defer_s)

    async def settle(self, *, through_delays: bool = False) -> None:
        """Run the handlers until none is running and no message is due.

        Args:
            through_delays: Whether to let retries, leases and pauses take their time too, until every
                message has a final outcome.

        Raises:
            NeedsVirtualTimeError: On a real nsqd, if that takes more time than the harness waits.
        """
        await self._broker.settle(self._activity, through_delays=through_delays)

    def drop_connection(self) -> None:
        """Break the handlers' connections to NSQ; they reconnect.

        Handlers lose the messages in flight. nsqd delivers them again when their lease ends:
        ``msg_timeout_s`` (60 s by default) after the delivery or the last TOUCH.

        Raises:
            NeedsVirtualTimeError: On a real nsqd, where that takes too long.
        """
        self._broker.drop_connections()

    def fail_publish(self, times: int = 1, *, topic: str | None = None, permanent: bool = False) -> None:
        """Let the handlers' next publishes fail: follow-up events and dead letters.

        Args:
            times: How many; 1 or more.
            topic: The topic of those publishes; by default any.
            permanent: Whether nsqd refuses permanently, instead of not answering. A dead letter is then
                published a second time, as the raw body alone.

        Raises:
            ValueError: If *times* is below 1.
        """
        self._faults.add(times, topic, permanent=permanent)

    def _subscribe(self) -> tuple[Subscription, ...]:
        broker, metrics = self._broker, Metrics()
        parts = WorkerParts(
            settings=self.settings,
            metrics=metrics,
            publishes=broker,
            make_consumer=broker.make_consumer,
            max_msg_bytes=broker.max_msg_bytes,
            log=self._log,
            clock=RuntimeClock(now_s=broker.now_s, now_ns=broker.now_ns, draw=lambda: 0.0),
        )
        return tuple(Subscription(ready, self._parts_of(ready.handler.spec, parts)) for ready in self._ready)

    def _parts_of(self, spec: HandlerSpec, parts: WorkerParts) -> WorkerParts:
        """Return a worker's parts with what notes and disturbs the messages of one handler."""
        return replace(
            parts,
            publishes=RecordingPublisher(spec, self._broker, self._journal, self._faults),
            make_consumer=partial(self._make_consumer, spec),
            observer=partial(self._journal.ended, spec),
        )

    def _make_consumer(self, spec: HandlerSpec, options: ConsumerOptions, **callbacks: Any) -> Consumes:
        receive = callbacks.pop("on_messages")

        def on_messages(messages: Sequence[Any]) -> None:
            for message in messages:
                self._journal.delivered(spec, message)
            receive(messages)

        return self._broker.make_consumer(options, on_messages=on_messages, **callbacks)

    async def _send(self, topic: str, body: bytes, event: object, defer_s: float) -> None:
        self._journal.published(topic, body, event, defer_s)
        await self._broker.publish(self._broker.address, topic, body, defer_s=defer_s)

    async def _drain(self) -> None:
        pairs = [(each.intake, each.consumer) for each in self._subscriptions]
        await drain(
            pairs,
            grace_s=self.settings.grace_s,
            publish_timeout_s=self.settings.publish_timeout_s,
            log=self._log,
        )
        for subscription in self._subscriptions:
            subscription.close()
