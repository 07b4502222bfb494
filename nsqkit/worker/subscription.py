"""Subscription: one handler running, from its connections to its outcomes; may be paused and blocked."""

import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from nsqkit.admin import HandlerState, IntakeState
from nsqkit.errors import BreakerOpenError
from nsqkit.events.codec import Decoder
from nsqkit.handler.batch import BatchHandler
from nsqkit.handler.context import Middleware, Prepare
from nsqkit.handler.handler import AnyHandler
from nsqkit.loading.loader import in_flight, keeps_dead_letters
from nsqkit.nsq.consumer import ConsumerOptions
from nsqkit.nsq.options import connection_options
from nsqkit.policy.names import retry_topic
from nsqkit.policy.verdict import RequeueReason, Rules
from nsqkit.runtime.batch import BatchDispatcher
from nsqkit.runtime.consume import Intake
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.drain import Source
from nsqkit.runtime.gate import Flow, Gate
from nsqkit.runtime.guard import Guard
from nsqkit.runtime.quarantine import Quarantine
from nsqkit.runtime.settle import OnSettled, Publishes, Settler, tell_nobody
from nsqkit.settings.settings import Settings
from nsqkit.telemetry.metrics import Metrics
from nsqkit.version import __version__

_SHUT = {
    RequeueReason.PAUSED: IntakeState.PAUSED,
    RequeueReason.KILL_SWITCH: IntakeState.KILL_SWITCH_OPEN,
    RequeueReason.BREAKER_OPEN: IntakeState.BREAKER_OPEN,
    RequeueReason.DEAD_LETTER_FAILED: IntakeState.BLOCKED,
}


class Consumes(Source, Protocol):
    """What a subscription needs of its consumer; ``nsqkit.nsq.Consumer`` is the one for nsqd."""

    @property
    def ready(self) -> bool: ...  # noqa: D102
    @property
    def problems(self) -> tuple[str, ...]: ...  # noqa: D102
    def start(self) -> None: ...  # noqa: D102
    async def wait_ready(self) -> None: ...  # noqa: D102
    def subscribed_to(self, address: str) -> bool: ...  # noqa: D102
    def poll_now(self) -> None: ...  # noqa: D102
    def pause(self) -> None: ...  # noqa: D102
    def resume(self) -> None: ...  # noqa: D102
    def trial(self) -> None: ...  # noqa: D102


class Subscription:
    """One handler instance with everything around it.

    Args:
        handler: The instance, its resources given.
        settings: The settings.
        metrics: Where it is counted.
        publishers: Where its dead letters and events go.
        make_consumer: Makes its consumer, of :class:`~nsqkit.nsq.ConsumerOptions`, ``on_message``,
            ``on_settle_failure`` and ``log``.
        middleware: The outermost first.
        prepare: Encodes what it publishes.
        max_msg_bytes: nsqd's max-msg-size.
        log: A structlog logger.
        quarantine: The worker's; by default one of its own.
        on_settled: Told how each delivery ended.
        draw: A uniform number in [0, 1).
        now_s: The loop's clock, by which messages say when they arrived.
        now_ns: The wall clock.
    """

    def __init__(
        self,
        handler: AnyHandler[Any],
        *,
        settings: Settings,
        metrics: Metrics,
        publishers: Publishes,
        make_consumer: Callable[..., Consumes],
        middleware: Sequence[Middleware],
        prepare: Prepare,
        max_msg_bytes: int,
        log: Any,
        quarantine: Quarantine | None = None,
        on_settled: OnSettled = tell_nobody,
        draw: Callable[[], float] = random.random,
        now_s: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        spec = self.spec = handler.spec
        slots = in_flight(spec, settings)
        meter = metrics.for_handler(spec.topic, spec.channel, spec.name, declared=spec.declared_errors)
        meter.max_in_flight(slots)
        self._meter = meter
        self._max_in_flight = slots
        self._now_s = now_s
        rules = Rules(
            retry=spec.retry,
            on_unknown=spec.on_unknown or "requeue",
            max_age_s=spec.max_age_s,
            on_expired=spec.on_expired,
            keeps_dead_letters=keeps_dead_letters(spec),
            max_delay_s=settings.max_requeue_delay_s,
        )
        self._log = log.bind(topic=spec.topic, channel=spec.channel, handler=spec.name)
        self._blocked = ""
        self.gate = Gate(slots, apply=self._tell, log=self._log)
        self._guard = Guard(spec.kill_switch, self.gate, meter=meter, now_s=now_s)
        settler = Settler(
            spec,
            rules,
            meter=meter,
            log=log,
            publishes=publishers,
            rest=self._rest,
            block=self.block,
            max_msg_bytes=max_msg_bytes,
            version=__version__,
            log_success=settings.log_success,
            log_stacks=settings.log_level == "debug",
            on_settled=on_settled,
            draw=draw,
            now_s=now_s,
        )
        around: dict[str, Any] = {"middleware": middleware, "executor_wait": meter.executor_wait}
        self.dispatcher: Dispatcher | BatchDispatcher
        if isinstance(handler, BatchHandler):
            threads = spec.threads or settings.threads
            self.dispatcher = BatchDispatcher(handler, threads=threads, log=self._log, **around)
        else:
            self.dispatcher = Dispatcher(handler, threads=slots, **around)
        self.intake = Intake(
            spec,
            rules,
            gate=self.gate,
            guard=self._guard,
            quarantine=quarantine or Quarantine(),
            decoder=Decoder(spec.topic, spec.event_types),
            dispatcher=self.dispatcher,
            settler=settler,
            meter=meter,
            log=log,
            prepare=prepare,
            draw=draw,
            now_s=now_s,
            now_ns=now_ns,
        )
        self.topics = subscribed_topics(spec.topic, spec.channel, with_retry=rules.keeps_dead_letters)
        self.consumer = make_consumer(
            ConsumerOptions(
                topics=self.topics,
                channel=spec.channel,
                connection=connection_options(settings, holds_s=spec.holds_s),
                max_in_flight=slots,
                is_fixed=settings.rdy == "fixed" or spec.max_messages is not None,
                min_rdy=spec.max_messages or 0,
            ),
            on_message=self.intake.receive,
            on_settle_failure=meter.settle_failure,
            log=self._log,
        )

    @property
    def is_blocked(self) -> bool:
        """Whether its intake has stopped until the process is started again."""
        return bool(self._blocked)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why it is not ready; empty if it is."""
        if self._blocked:
            return (self._blocked,)
        if self.consumer.ready:
            return ()
        name = f"{self.spec.name} ({self.spec.topic}/{self.spec.channel})"
        return tuple(f"{name}: {problem}" for problem in self.consumer.problems or ("not connected yet",))

    @property
    def state(self) -> HandlerState:
        """What it does now."""
        gate, spec = self.gate, self.spec
        remaining_s = gate.until_s - self._now_s()
        return HandlerState(
            name=spec.name,
            topic=spec.topic,
            channel=spec.channel,
            held=self.intake.held,
            max_in_flight=self._max_in_flight,
            state=self._intake_state(),
            remaining_s=remaining_s if 0.0 < remaining_s < math.inf else None,
            problems=self.problems,
        )

    def _intake_state(self) -> IntakeState:
        if self.gate.reason is not None:
            return _SHUT[self.gate.reason]
        if self.gate.is_on_trial:
            return IntakeState.HALF_OPEN
        return IntakeState.RATE_LIMITED if self.intake.is_rate_limited else IntakeState.RUNNING

    @property
    def is_resting(self) -> bool:
        """Whether its intake is paused, and will go on by itself."""
        return 0.0 < self.gate.until_s < math.inf

    def pause(self, for_s: float = math.inf) -> None:
        """Rest the intake for some seconds, or until :meth:`resume`; of several pauses the longest counts."""
        self.gate.shut(RequeueReason.PAUSED, for_s)

    def resume(self) -> None:
        """End a pause."""
        self.gate.open(RequeueReason.PAUSED)

    def block(self, why: str) -> None:
        """Stop the intake until the process is started again; shown as not ready."""
        if not self._blocked:
            self._blocked = why
            self._log.error("intake_blocked", reason=why)
            self.gate.shut(RequeueReason.DEAD_LETTER_FAILED)

    def close(self) -> None:
        """Stop timers and threads; comes after the drain."""
        self.gate.close()
        self.intake.close()
        self.dispatcher.close()

    def _rest(self, for_s: float, error: BaseException | None) -> None:
        if isinstance(error, BreakerOpenError):
            self._guard.rest(for_s)
        else:
            self.pause(for_s)

    def _tell(self, flow: Flow) -> None:
        self._meter.paused(flow is Flow.SHUT)
        match flow:
            case Flow.OPEN:
                self.consumer.resume()
            case Flow.TRIAL:
                self.consumer.trial()
            case Flow.SHUT:
                self.consumer.pause()


def subscribed_topics(topic: str, channel: str, *, with_retry: bool) -> tuple[str, ...]:
    """Return the topics that a handler's channel is on: the source, and its own ``.retry``."""
    return (topic, retry_topic(topic, channel)) if with_retry else (topic,)
