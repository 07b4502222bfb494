"""Harness: real handler classes under test, with everything around them that they have in production."""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Literal, Self, TypeVar

from nsqkit import logs
from nsqkit.codec import Decoder, loads
from nsqkit.context import Middleware
from nsqkit.events import REGISTRY, EventType
from nsqkit.handler import Handler, HandlerSpec
from nsqkit.loader import check, keeps_dead_letters, resources_in
from nsqkit.metrics import Metrics
from nsqkit.policy.errors import HandlerError
from nsqkit.policy.verdict import DeadLetterReason, Ending, RequeueReason
from nsqkit.publisher import preparer
from nsqkit.runtime.drain import drain
from nsqkit.runtime.resources import Resources
from nsqkit.settings import Settings
from nsqkit.subscription import Consumes, Subscription, subscribed_topics
from nsqkit.testing.broker import Broker, Load
from nsqkit.testing.clock import Clock
from nsqkit.testing.errors import HarnessError
from nsqkit.testing.found import Found, HistoryError, question
from nsqkit.testing.journal import Journal, Sent, Settled, is_like
from nsqkit.testing.ledger_broker import LedgerBroker
from nsqkit.testing.nsqd_broker import NsqdBroker
from nsqkit.testing.outgoing import Faults, Outgoing
from nsqkit.testing.stand_ins import with_stand_ins

H = TypeVar("H", bound=Handler[Any])
BrokerName = Literal["ledger", "nsqd"]
WITHIN_S = 0.001
"""Delays are whole milliseconds on the wire."""


class Harness:
    """Handlers under test: an async context manager.

    Their messages are encoded, delivered, decoded, dispatched, settled and counted by the classes that
    a worker uses. By default nsqd is a ledger in this process, and time passes only when nothing else
    can happen: an hour of retries takes milliseconds, and so does a handler's timeout. Jitter is 0.

    Args:
        handlers: Handler classes, one or more.
        resources: Stand-ins by the type that handlers or resources ask for. What is not among them
            is opened as a worker does, from the modules of the handlers.
        settings: By default the defaults; environment and file are not read.
        middleware: Around every handler call, the outermost first.
        broker: ``"ledger"``, or ``"nsqd"`` for a real nsqd and real time.

    Raises:
        HandlerError: If the handlers cannot run together; all problems.
        HarnessError: If nobody asks for a stand-in.
    """

    def __init__(
        self,
        handlers: Sequence[type[Handler[Any]]],
        *,
        resources: Mapping[Any, object] | None = None,
        settings: Settings | None = None,
        middleware: Sequence[Middleware] = (),
        broker: BrokerName = "ledger",
    ) -> None:
        self._specs = tuple(handler.spec for handler in handlers)
        self._settings = settings or Settings()
        modules = [sys.modules[spec.handler.__module__] for spec in self._specs]
        self._resources = with_stand_ins(self._specs, resources_in(modules), resources or {})
        if problems := check(self._specs, self._resources, self._settings):
            raise HandlerError(tuple(problems))
        self._middleware = tuple(middleware)
        self._broker_name = broker
        self._faults = Faults()
        self._asked: list[Found[Any]] = []
        self._handlers: dict[type[Handler[Any]], Handler[Any]] = {}
        self._subscriptions: tuple[Subscription, ...] = ()
        self._stack = AsyncExitStack()
        self._broker: Broker
        self._journal: Journal

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            opened = Resources(self._resources, self._settings)
            stack.push_async_callback(opened.close)
            self._handlers = {spec.handler: await opened.make(spec) for spec in self._specs}
            channels = [
                (topic, spec.channel)
                for spec in self._specs
                for topic in subscribed_topics(spec.topic, spec.channel, with_retry=keeps_dead_letters(spec))
            ]
            self._broker = self._new_broker()
            await self._broker.start(channels)
            stack.push_async_callback(self._broker.stop)
            self._journal = Journal(
                lambda: self._broker.clock.elapsed_s, frozenset(topic for topic, _ in channels)
            )
            stack.push_async_callback(self._drain)
            await self._subscribe()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            await self._stack.aclose()
        finally:
            if error is not None and not isinstance(error, HistoryError):
                error.add_note(f"what happened to the messages:\n{self.history()}")
        if error is None:
            self._require_used()

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
        found: Any = self._handlers[kind]
        return found  # type: ignore[no-any-return]  # an instance of its key

    async def publish(self, event: object, *, topic: str | None = None, defer_s: float = 0.0) -> None:
        """Publish an event as another service does; handled at the next ``settle``, if not before.

        Args:
            event: An instance of a class decorated with ``@event``.
            topic: Where to; by default the topic of its ``@event``.
            defer_s: Seconds for which it is held back; 0 to 3600.

        Raises:
            EncodeError: If it is not an event, has no topic, or cannot be written as JSON.
            PublishError: If NSQ refuses it.
        """
        ready = preparer("test", self._broker.max_msg_bytes)(event, topic, defer_s)
        await self._send(ready.topic, ready.body, event, defer_s)

    async def publish_raw(self, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish bytes as they are, such as a foreign producer's.

        Args:
            topic: Where to.
            body: 1 byte to 1 MiB.
            defer_s: Seconds for which it is held back; 0 to 3600.

        Raises:
            PublishError: If NSQ refuses it.
        """
        await self._send(topic, body, None, defer_s)

    async def settle(self, *, through_delays: bool = False) -> None:
        """Let everything happen that can: return when no handler runs and no message is due.

        Args:
            through_delays: True lets all the time pass that retries, leases and pauses take, until
                every message is done with.

        Raises:
            NeedsVirtualTimeError: On a real nsqd, if that takes more time than is waited for.
        """
        await self._broker.settle(self._load(), through_delays=through_delays)

    def drop_connection(self) -> None:
        """Break the handlers' connections to NSQ; they are made anew.

        What handlers hold is lost to them, and comes back when its lease ends: the longer of
        ``msg_timeout_s`` (60 s by default) and ``timeout_s`` plus 5 s.

        Raises:
            NeedsVirtualTimeError: On a real nsqd, where that takes too long.
        """
        self._broker.drop_connections()

    def fail_publish(self, times: int = 1, *, topic: str | None = None, permanent: bool = False) -> None:
        """Let the handlers' next publishes fail: following events and dead letters.

        Args:
            times: How many; 1 or more.
            topic: Only of this topic; by default of any.
            permanent: Whether nsqd refuses for good, rather than not answer.
        """
        self._faults.add(times, topic, permanent=permanent)

    def handled(self, event: object = None, *, by: type[Handler[Any]] | None = None) -> Found[Settled]:
        """Ask for deliveries that ended well. Go on with ``.once()``, ``.times(n)`` or ``.never()``.

        Args:
            event: A class of events, or an event to equal; None for any, also where there is none.
            by: The handler; by default any.

        Raises:
            EventError: If *event* is neither.
            HarnessError: If *by* is not in this harness.
        """
        return self._ended(Ending.SUCCESS, event, question("handled", event, by=by), by=by)

    def requeued(
        self,
        event: object = None,
        *,
        by: type[Handler[Any]] | None = None,
        delay_s: float | None = None,
        reason: str | None = None,
    ) -> Found[Settled]:
        """Ask for deliveries that ended in a requeue; go on as after ``handled``.

        Args:
            event: As for ``handled``.
            by: As for ``handled``.
            delay_s: For how long, in seconds, to the millisecond.
            reason: Such as ``"error"``, ``"timeout"`` or ``"requested"``.

        Raises:
            EventError: If *event* is no event.
            HarnessError: If *by* is not in this harness.
            ValueError: If there is no such reason.
        """
        asked = question("requeued", event, by=by, delay_s=delay_s, reason=reason)
        known = None if reason is None else RequeueReason(reason)
        return self._ended(Ending.REQUEUE, event, asked, by=by, reason=known, delay_s=delay_s)

    def dead_lettered(
        self,
        event: object = None,
        *,
        by: type[Handler[Any]] | None = None,
        reason: str | None = None,
    ) -> Found[Settled]:
        """Ask for deliveries that became dead letters, confirmed; go on as after ``handled``.

        Args:
            event: As for ``handled``.
            by: As for ``handled``.
            reason: Such as ``"exhausted"``, ``"rule"`` or ``"undecodable"``.

        Raises:
            EventError: If *event* is no event.
            HarnessError: If *by* is not in this harness.
            ValueError: If there is no such reason.
        """
        asked = question("dead_lettered", event, by=by, reason=reason)
        known = None if reason is None else DeadLetterReason(reason)
        return self._ended(Ending.DEAD_LETTER, event, asked, by=by, reason=known)

    def discarded(self, event: object = None, *, by: type[Handler[Any]] | None = None) -> Found[Settled]:
        """Ask for deliveries that were dropped on purpose; arguments and errors as for ``handled``."""
        return self._ended(Ending.DISCARD, event, question("discarded", event, by=by), by=by)

    def lost(self, event: object = None, *, by: type[Handler[Any]] | None = None) -> Found[Settled]:
        """Ask for deliveries whose lease or connection ended first (outcome ``lease_lost``).

        Arguments and errors as for ``handled``.
        """
        return self._ended(Ending.LEASE_LOST, event, question("lost", event, by=by), by=by)

    def published(
        self, event: object, *, by: type[Handler[Any]] | None = None, topic: str | None = None
    ) -> Found[Any]:
        """Ask for the events that handlers published, confirmed, as read back; go on as after ``handled``.

        Args:
            event: A class of events, or an event to equal.
            by: The handler; by default any.
            topic: Where to; by default anywhere.

        Raises:
            DecodeError: If one of that type cannot be read back.
            EventError: If *event* is no event.
            HarnessError: If *by* is not in this harness.
        """
        known = _event_type(event)
        self._require_handler(by)
        found = [
            (sent.handler.__name__, read)
            for sent in self._journal.sent
            if by in {None, sent.handler} and topic in {None, sent.topic}
            for read in _read(sent, known)
            if is_like(read, event)
        ]
        asked = question("published", event, by=by, topic=topic)
        return self._found(asked, [each for _, each in found], [owner for owner, _ in found], None)

    def history(self, event: object = None) -> str:
        """Return what happened to every message, or to those with an event like this one; lines of text."""
        return self._journal.text(event)

    def _ended(
        self,
        ending: Ending,
        event: object,
        asked: str,
        *,
        by: type[Handler[Any]] | None,
        reason: str | None = None,
        delay_s: float | None = None,
    ) -> Found[Settled]:
        if event is not None:
            _event_type(event)
        self._require_handler(by)
        found = [
            each
            for each in self._journal.settled
            if each.outcome == ending
            and is_like(each.event, event)
            and by in {None, each.handler}
            and reason in {None, each.reason}
            and (delay_s is None or math.isclose(each.delay_s, delay_s, abs_tol=WITHIN_S))
        ]
        return self._found(asked, found, [each.handler.__name__ for each in found], event)

    def _found(self, asked: str, items: Sequence[Any], owners: Sequence[str], event: object) -> Found[Any]:
        found = Found(asked, items, owners=owners, history=partial(self.history, event))
        self._asked.append(found)
        return found

    def _require_handler(self, kind: type[Handler[Any]] | None) -> None:
        if kind is not None and kind not in {spec.handler for spec in self._specs}:
            names = ", ".join(spec.name for spec in self._specs)
            raise HarnessError(f"{kind.__name__} is not in this harness, which has {names}")

    def _require_used(self) -> None:
        unused = [found.question for found in self._asked if not found.is_used]
        if unused:
            raise HarnessError(
                f"h.{unused[0]} alone checks nothing; go on with .once(), .times(n) or .never()"
            )

    def _new_broker(self) -> Broker:
        if self._broker_name == "nsqd":
            return NsqdBroker(self._settings)
        return LedgerBroker(lambda: self._load().held())

    def _load(self) -> Load:
        return Load(
            held=lambda: sum(each.intake.held for each in self._subscriptions),
            is_resting=lambda: any(each.is_resting for each in self._subscriptions),
            longest_wait_s=self._journal.longest_wait_s,
        )

    async def _subscribe(self) -> None:
        metrics, log = Metrics(), logs.get_logger()
        broker = self._broker
        self._subscriptions = tuple(
            Subscription(
                handler,
                settings=self._settings,
                metrics=metrics,
                outlet=Outgoing(handler.spec, broker, self._journal, self._faults),
                make_consumer=partial(self._make_consumer, handler.spec),
                middleware=self._middleware,
                prepare=preparer(self._settings.service, broker.max_msg_bytes),
                max_msg_bytes=broker.max_msg_bytes,
                log=log,
                on_settled=partial(self._journal.ended, handler.spec),
                draw=lambda: 0.0,
                now_s=broker.now_s,
                now_ns=broker.now_ns,
            )
            for handler in self._handlers.values()
        )
        for subscription in self._subscriptions:
            subscription.consumer.start()
        for subscription in self._subscriptions:
            await subscription.consumer.wait_ready()

    def _make_consumer(self, spec: HandlerSpec, **wanted: Any) -> Consumes:
        receive = wanted.pop("on_message")

        def on_message(message: Any) -> None:
            self._journal.delivered(spec, message)
            receive(message)

        return self._broker.make_consumer(on_message=on_message, **wanted)

    async def _send(self, topic: str, body: bytes, event: Any, defer_s: float) -> None:
        self._journal.published(topic, body, event, defer_s)
        await self._broker.publish(self._broker.address, topic, body, defer_s=defer_s)

    async def _drain(self) -> None:
        pairs = [(each.intake, each.consumer) for each in self._subscriptions]
        await drain(pairs, grace_s=self._settings.grace_s, log=logs.get_logger())
        for subscription in self._subscriptions:
            subscription.close()


def _event_type(event: object) -> EventType:
    return REGISTRY.of(event if isinstance(event, type) else type(event))


def _read(sent: Sent, known: EventType) -> Iterator[Any]:
    """Yield the event, decoded, if it is of this type."""
    if loads(sent.body)["type"] == known.wire_type:
        yield Decoder(sent.topic, (known,)).decode(sent.body).event
