"""The data path on a bench: its neighbours are small fakes, the clock stands still until it is moved."""

import asyncio
import json
import time
import weakref
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nsqkit import (
    BatchHandler,
    Context,
    DeadLetter,
    Exponential,
    Handler,
    Middleware,
    Outcome,
    RetryPolicy,
    event,
)
from nsqkit.errors import PublishError, RefusedError
from nsqkit.events.codec.decoder import Decoder
from nsqkit.handler.extension import OnSettled
from nsqkit.handler.handler import AnyHandler
from nsqkit.handler.outgoing import Preparer
from nsqkit.policy.lease import longest_hold_s
from nsqkit.policy.verdict import Rules, Verdict
from nsqkit.runtime.batch import BatchDispatcher
from nsqkit.runtime.clock import Clock
from nsqkit.runtime.dead_letter_publisher import DeadLetterPublisher
from nsqkit.runtime.delivery import Delivery, Shared
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.failure_monitor import FailureMonitor
from nsqkit.runtime.gate import Flow, Gate
from nsqkit.runtime.outcome_log import OutcomeLog
from nsqkit.runtime.process import Processor
from nsqkit.runtime.quarantine import Quarantine
from nsqkit.runtime.receive import Intake
from nsqkit.runtime.settle import Settler
from nsqkit.runtime.slots import Slots
from nsqkit.testing.clock import VirtualClock
from tests.waiting import PATIENCE_S, turns

NSQD = "nsqd:4150"
NOW_NS = 1_700_000_000_000_000_000
Journal = list[tuple[Any, ...]]
BACKOFF = Exponential(base_s=2, factor=2, max_s=100, jitter="none")
POLICY = RetryPolicy(max_attempts=5, backoff=BACKOFF, on={KeyError: DeadLetter("unknown sku")})


@event("bench.happened", version=1, topic="consumed")
@dataclass
class Happened:
    n: int


Behave = Callable[[Happened, Context], Awaitable[Outcome | None]]
BehavePlain = Callable[[Happened, Context], Outcome | None]


def asynchronous(behave: Behave, **options: Any) -> Handler[Happened]:
    """Return a handler that does as it is told."""

    class Scripted(Handler[Happened], channel="work", **({"retry": POLICY} | options)):
        async def handle(self, event: Happened, ctx: Context) -> Outcome | None:
            return await behave(event, ctx)

    return Scripted()


def plain(behave: BehavePlain, **options: Any) -> Handler[Happened]:
    """Return a plain handler that does as it is told."""

    class Scripted(Handler[Happened], channel="work", **({"retry": POLICY} | options)):
        def handle(self, event: Happened, ctx: Context) -> Outcome | None:
            return behave(event, ctx)

    return Scripted()


def ending(outcome: object, **options: Any) -> Handler[Happened]:
    """Return a handler that returns or raises this."""

    async def behave(_: Happened, ctx: Context) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return asynchronous(behave, **options)


class FakeMessage:
    """A delivery that writes its answers into a journal, and minds a second one as the real one does."""

    def __init__(
        self,
        body: bytes = b"{}",
        *,
        attempts: int = 1,
        id_: bytes = b"0123456789abcdef",
        timestamp_ns: int = NOW_NS,
        received_s: float = 0.0,
        lease_s: float = 60.0,
        max_lease_s: float = 900.0,
        is_connected: bool = True,
        journal: Journal | None = None,
        address: str = NSQD,
        topic: str = "consumed",
    ) -> None:
        self.id = id_
        self.body = body
        self.timestamp_ns = timestamp_ns
        self.attempts = attempts
        self.address = address
        self.topic = topic
        self.max_lease_s = max_lease_s
        self.longest_hold_s = longest_hold_s(lease_s, max_lease_s)
        self.received_s = received_s
        self.lease_s = lease_s
        self.is_connected = is_connected
        self.link = FakeConnection(self)
        self.journal: Journal = [] if journal is None else journal
        self.answers: list[tuple[Any, ...]] = []
        self.is_forgotten = False

    def finish(self) -> bool:
        return self._answer("FIN")

    def requeue(self, delay_s: float) -> bool:
        return self._answer("REQ", delay_s)

    def touch(self) -> bool:
        if self.is_connected:
            self.journal.append(("TOUCH", self.id))
        return self.is_connected

    def is_lost(self) -> bool:
        return not self.is_connected

    def forget(self) -> None:
        self.is_forgotten = True

    def _answer(self, *answer: Any) -> bool:
        if self.answers:
            raise RuntimeError(f"answered {self.answers} already")
        if self.is_connected:
            self.answers.append(answer)
            self.journal.append(answer)
        return self.is_connected


class FakeConnection:
    """The connection of some messages."""

    def __init__(self, *messages: FakeMessage) -> None:
        # Circles would outlive the tests that look for circles.
        self._messages = weakref.WeakValueDictionary({message.id: message for message in messages})
        self.address = messages[0].address
        self.lease_s = messages[0].lease_s
        self.finished: list[list[bytes]] = []

    def finish_all(self, ids: Sequence[bytes]) -> bool:
        self.finished.append(list(ids))
        answers = [self._messages[id_].finish() for id_ in ids]
        return all(answers)


class FakePublishes:
    """Takes what is published into the journal; refuses what it was told to refuse, once each."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.published: list[tuple[str, str, bytes, float]] = []
        self.channel_failures: deque[Exception] = deque()
        self.failures: deque[Exception] = deque()
        self.gate: asyncio.Event | None = None
        self.takes_a_turn = False
        self.limit: int | None = None

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        self.journal.append(("publish", topic))
        if self.gate is not None:
            await self.gate.wait()
        if self.takes_a_turn:
            await turns()
        if self.failures:
            raise self.failures.popleft()
        self.published.append((address, topic, body, defer_s))
        self.journal.append(("confirmed", topic))

    async def publish_many(self, address: str, topic: str, bodies: Sequence[bytes]) -> None:
        self.journal.append(("publish_many", topic, len(bodies)))
        if self.failures:
            raise self.failures.popleft()
        self.published += [(address, topic, body, 0.0) for body in bodies]
        self.journal.append(("confirmed", topic))

    async def max_msg_bytes(self, address: str) -> int | None:
        self.journal.append(("limit", address))
        return self.limit

    async def ensure_channel(self, address: str, topic: str, channel: str) -> None:
        self.journal.append(("channel", topic, channel))
        if self.channel_failures:
            raise self.channel_failures.popleft()

    @property
    def record(self) -> dict[str, Any]:
        """The one thing that was published, as a dead letter."""
        ((_, _, body, _),) = self.published
        record: dict[str, Any] = json.loads(body)
        return record


def refused(topic: str = "t") -> PublishError:
    return PublishError(topic, NSQD, "too big", True)


def refused_with(code: str, description: str = "") -> PublishError:
    """Return the error of a publish that nsqd refused with an error frame."""
    error = RefusedError(NSQD, code, description)
    failure = PublishError("t", NSQD, str(error), error.permanent)
    failure.__cause__ = error
    return failure


def unconfirmed(topic: str = "t") -> PublishError:
    return PublishError(topic, NSQD, "connection lost", False)


class RecordingMeter:
    """Counts what the runtime counts."""

    def __init__(self) -> None:
        self.n_received = 0
        self.n_clamped = 0
        self.outcomes: Counter[str] = Counter()
        self.requeues: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.states: list[str] = []
        self.durations: list[float] = []
        self.ages: list[float] = []
        self.exemplars: list[tuple[str, float, float]] = []

    def received(self, count: int) -> None:
        self.n_received += count

    def succeeded(self, ages_s: Sequence[float], durations_s: Sequence[float]) -> None:
        self.ages += ages_s
        self.durations += durations_s
        self.outcomes["success"] += len(durations_s)

    @property
    def n_in_flight(self) -> int:
        """Deliveries that have not ended."""
        return self.n_received - self.outcomes.total()

    def duration(self, seconds: float) -> None:
        self.durations.append(seconds)

    def exemplar(self, trace_id: str, duration_s: float, at_s: float) -> None:
        self.exemplars.append((trace_id, duration_s, at_s))

    def age(self, seconds: float) -> None:
        self.ages.append(seconds)

    def processed(self, outcome: str) -> None:
        self.outcomes[str(outcome)] += 1

    def requeued(self, reason: str) -> None:
        self.requeues[str(reason)] += 1

    def dead_lettered(self, reason: str) -> None:
        self.dead_letters[str(reason)] += 1

    def error(self, error_type: str) -> None:
        self.errors[error_type] += 1

    def kill_switch(self, state: str) -> None:
        self.states.append(state)

    def delay_clamped(self) -> None:
        self.n_clamped += 1

    @property
    def is_balanced(self) -> bool:
        """Whether the accounting of DESIGN section 2 holds."""
        return (
            self.outcomes["requeue"] == self.requeues.total()
            and self.outcomes["dead_letter"] == self.dead_letters.total()
        )


class RecordingLog:
    """Keeps every line as (level, event, fields)."""

    def __init__(self, lines: list[tuple[str, str, dict[str, Any]]] | None = None, **fields: object) -> None:
        self.lines = [] if lines is None else lines
        self._fields = fields

    def bind(self, **fields: object) -> "RecordingLog":
        return RecordingLog(self.lines, **{**self._fields, **fields})

    def debug(self, event: str, **fields: object) -> None:
        """Debug is off."""

    def info(self, event: str, **fields: object) -> None:
        self.lines.append(("info", event, {**self._fields, **fields}))

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append(("warning", event, {**self._fields, **fields}))

    def error(self, event: str, **fields: object) -> None:
        self.lines.append(("error", event, {**self._fields, **fields}))

    def exception(self, event: str, **fields: object) -> None:
        self.lines.append(("exception", event, {**self._fields, **fields}))

    def settled(self, message_id: str | None = None) -> list[dict[str, Any]]:
        """Return the fields of every settlement's line, or of those of one message."""
        found = [fields for _, event, fields in self.lines if event == "message_settled"]
        return [each for each in found if message_id in {None, each["message_id"]}]


@dataclass
class StillClock:
    """A monotonic clock that moves when it is told to."""

    s: float = 0.0

    def __call__(self) -> float:
        return self.s


class Bench:
    """One handler with everything around it but NSQ.

    Args:
        handler: The instance.
        rules: What its declaration says about endings; by default the bare retry policy.
        slots: How many may run at a time.
        most: How many may be in flight, with those that wait for a thread; by default as many as run.
        middleware: The outermost first.
        max_msg_bytes: The largest message that the fake nsqd takes.
        log_success: Whether successes are logged.
        success_ratio: Share of them that is.
        draw: What each random draw yields.
        quarantine: By default one of its own.
        now_s: The clock, if not ``clock``, which stands still.
        hooks: Receive every outcome.
        unhandled: Receive the outcome of each message whose handler was not called.
        skews_ns: How far the clock is ahead of nsqd's, by its address; by default not at all.
        is_observed: Whether ``told`` gets every outcome.
    """

    def __init__(
        self,
        handler: AnyHandler[Any],
        *,
        rules: Rules | None = None,
        slots: int = 10,
        most: int | None = None,
        middleware: Sequence[Middleware] = (),
        max_msg_bytes: int = 1_000_000,
        log_success: bool = False,
        success_ratio: float = 1.0,
        draw: float = 0.0,
        quarantine: Quarantine | None = None,
        now_s: Callable[[], float] | None = None,
        hooks: Sequence[OnSettled] = (),
        unhandled: Sequence[OnSettled] = (),
        skews_ns: Mapping[str, int | None] | None = None,
        is_observed: bool = False,
    ) -> None:
        spec = handler.spec
        self.rules = rules or Rules(spec.retry)
        self.journal: Journal = []
        self.publishes = FakePublishes(self.journal)
        self.meter = RecordingMeter()
        self.log = RecordingLog()
        self.clock = StillClock()
        is_virtual = now_s not in {None, time.monotonic}
        self._patience_s = (
            7 * 86_400.0 if is_virtual else PATIENCE_S
        )  # where it takes no time there is plenty
        self.now_s = now_s = now_s or self.clock
        self.flows: list[Flow] = []
        self.blocks: list[str] = []
        self.waits: list[float] = []
        self.told: list[tuple[Any, Verdict, BaseException | None]] = []
        shared = Shared(
            spec=spec,
            rules=self.rules,
            meter=self.meter,
            log=self.log,
            preparer=Preparer(source="bench", max_msg_bytes=max_msg_bytes),
            clock=Clock(
                now_s=now_s,
                now_ns=lambda: NOW_NS,
                draw=lambda: draw,
                skews_ns=defaultdict(int) if skews_ns is None else skews_ns,
            ),
        )
        self.settler = Settler(
            shared,
            publishes=self.publishes,
            dead_letters=DeadLetterPublisher(
                shared,
                publishes=self.publishes,
                block=self.blocks.append,
                max_msg_bytes=max_msg_bytes,
                limit_of=self.publishes.max_msg_bytes,
            ),
            outcome_log=OutcomeLog(shared, log_success=log_success, success_ratio=success_ratio),
            hooks=hooks,
            unhandled=unhandled,
            observer=(lambda *ending: self.told.append(ending)) if is_observed else None,
        )
        around: dict[str, Any] = {
            "middleware": middleware,
            "threads": slots,
            "executor_waits": self.waits.extend,
            "now_s": now_s,
        }
        self.dispatcher: Dispatcher | BatchDispatcher
        if isinstance(handler, BatchHandler):
            self.dispatcher = BatchDispatcher(
                handler, log=self.log, may_rerun=lambda: self.gate.is_open, **around
            )
        else:
            self.dispatcher = Dispatcher(handler, **around)
        self.gate = Gate(most or slots, apply=self.flows.append, log=self.log)
        self.monitor = FailureMonitor(spec.kill_switch, self.gate, meter=self.meter, now_s=now_s)
        decoder = Decoder(spec.topic, spec.event_types)
        processor = Processor(
            shared,
            decoder=decoder,
            dispatcher=self.dispatcher,
            settler=self.settler,
            gate=self.gate,
            monitor=self.monitor,
        )
        self.sizes: list[int] = []
        self.slots = Slots(slots, self.gate, resize=self.sizes.append, most=most)
        self.intake = Intake(
            shared,
            slots=self.slots,
            gate=self.gate,
            quarantine=quarantine or Quarantine(),
            dispatcher=self.dispatcher,
            decoder=decoder,
            settler=self.settler,
            monitor=self.monitor,
            processor=processor,
        )
        self._count = 0

    def receive(self, body: bytes = b'{"n": 1}', **options: Any) -> FakeMessage:
        """Hand one message to the intake, as the connection does."""
        message = self.message(body, **options)
        self.intake.receive([message])
        return message

    def receive_chunk(self, *messages: FakeMessage) -> FakeConnection:
        """Hand messages of one connection to the intake that came together."""
        link = FakeConnection(*messages)
        for message in messages:
            message.link = link
        self.intake.receive(messages)
        return link

    def message(self, body: bytes = b'{"n": 1}', **options: Any) -> FakeMessage:
        """Return a message that has just arrived."""
        self._count += 1
        known: dict[str, Any] = {
            "id_": b"%016x" % self._count,
            "received_s": self.now_s(),
            "journal": self.journal,
        }
        return FakeMessage(body, **(known | options))

    def redeliver(self, message: FakeMessage, **options: Any) -> FakeMessage:
        """Hand a message to the intake that nsqd delivers once more."""
        known = {"id_": message.id, "attempts": message.attempts + 1}
        return self.receive(message.body, **(known | options))

    async def run(self, body: bytes = b'{"n": 1}', **options: Any) -> FakeMessage:
        """See one message to its outcome."""
        message = self.receive(body, **options)
        await self.idle()
        return message

    async def idle(self) -> None:
        """Wait until nothing is held, and check that every delivery then had exactly one outcome."""
        async with asyncio.timeout(self._patience_s):
            while self.intake.held:
                await turns()  # fresh messages are handled in the next one
                await self.intake.wait_empty()
        assert self.intake.held == self.meter.n_in_flight == 0
        assert self.meter.is_balanced

    @property
    def outcome(self) -> str:
        """The label of the only delivery."""
        ((outcome, count),) = self.meter.outcomes.items()
        assert count == 1
        return outcome

    @property
    def reason(self) -> str:
        """The reason of the only delivery's requeue or dead letter."""
        ((reason, count),) = (self.meter.requeues + self.meter.dead_letters).items()
        assert count == 1
        return reason


def delivery(message: Any) -> Delivery:
    """Return a delivery of a handler that does nothing."""
    spec = ending(None).spec
    shared = Shared(
        spec=spec,
        rules=Rules(spec.retry),
        meter=RecordingMeter(),
        log=RecordingLog(),
        preparer=Preparer(source="tests", max_msg_bytes=1_000_000),
    )
    return Delivery(message, shared, lambda _: None)


def timers() -> list[str]:
    """Return what the runtime has the running loop call later."""
    loop: Any = asyncio.get_running_loop()
    calls = [timer._callback for timer in loop._scheduled if not timer.cancelled()]
    return [call.__qualname__ for call in calls if call.__module__.startswith("nsqkit.runtime")]


async def passed(hours: VirtualClock, for_s: float) -> None:
    """Let so much time pass, and everything happen that falls due."""
    hours.advance(for_s)
    await hours.run_until(lambda: True)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await turns()
