"""Subscription: runs one handler, from its connections to its outcomes; can be paused and blocked."""

import asyncio
import math
from dataclasses import replace
from functools import partial
from typing import Any

from nsqkit.admin import HandlerState, IntakeState
from nsqkit.events.codec.decoder import Decoder
from nsqkit.handler.batch import BatchHandler
from nsqkit.handler.breaker import worker_now_s
from nsqkit.handler.context import Context
from nsqkit.handler.outgoing import Preparer
from nsqkit.handler.spec import HandlerSpec
from nsqkit.loading.dropped import dropped
from nsqkit.nsq.consumer_options import ConsumerOptions
from nsqkit.nsq.options import connection_options
from nsqkit.policy.folds import Folds
from nsqkit.policy.outage import rest_s
from nsqkit.policy.outcome import Finish
from nsqkit.policy.redaction import redact
from nsqkit.policy.verdict import RequeueReason, Rules, Verdict, on_outcome
from nsqkit.runtime.batch import BatchDispatcher
from nsqkit.runtime.dead_letter_publisher import DeadLetterPublisher
from nsqkit.runtime.delivery import Shared
from nsqkit.runtime.dispatch import Dispatcher, checked
from nsqkit.runtime.failure_monitor import FailureMonitor
from nsqkit.runtime.gate import Flow, Gate
from nsqkit.runtime.outcome_log import OutcomeLog
from nsqkit.runtime.process import Processor
from nsqkit.runtime.receive import Intake
from nsqkit.runtime.resources import ReadyHandler
from nsqkit.runtime.scope import Scope, succeeded
from nsqkit.runtime.settle import Settler
from nsqkit.runtime.slots import Slots
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs
from nsqkit.worker.parts import WorkerParts

_PROBE_S = 15.0
_SHUT = {
    RequeueReason.PAUSED: IntakeState.PAUSED,
    RequeueReason.KILL_SWITCH: IntakeState.KILL_SWITCH_OPEN,
    RequeueReason.BREAKER_OPEN: IntakeState.BREAKER_OPEN,
    RequeueReason.DEAD_LETTER_FAILED: IntakeState.BLOCKED,
}


class Subscription:
    """One handler instance with its consumer, intake and settler.

    Args:
        ready: The handler instance with its resources and extensions.
        parts: Parts that all subscriptions of the worker share.
    """

    def __init__(self, ready: ReadyHandler, parts: WorkerParts) -> None:
        spec = self.spec = ready.handler.spec
        settings = parts.settings
        self._meter = parts.metrics.for_handler(
            spec.topic, spec.channel, spec.name, declared=spec.declared_errors
        )
        self._now_s = parts.clock.now_s
        self._log = parts.log.bind(topic=spec.topic, channel=spec.channel, handler=spec.name)
        for problem in dropped(spec.handler):
            self._log.warning("value_dropped", reason=problem)
        self._blocked = ""
        self._blocks = 0  # since the last confirmed dead letter
        self._probe: asyncio.TimerHandle | None = None
        self.gate = Gate(spec.most_in_flight, apply=self._apply, log=self._log)
        self._monitor = FailureMonitor(spec.kill_switch, self.gate, meter=self._meter, now_s=self._now_s)
        shared = Shared(
            spec=spec,
            rules=_rules(spec, settings),
            meter=self._meter,
            log=parts.log,
            preparer=Preparer(
                source=settings.service,
                max_msg_bytes=parts.max_msg_bytes,
                hooks=ready.hooks.on_publish,
            ),
            clock=parts.clock,
        )
        self._requeues = shared.requeues
        self.dispatcher = self._make_dispatcher(ready, shared.rules, parts)
        self._slots = self._make_slots(settings)
        self._meter.max_in_flight(self._slots.left)
        token = worker_now_s.set(self._now_s)  # for the intake, which runs handlers in the current context
        self.intake = self._make_intake(shared, ready, parts)
        worker_now_s.reset(token)
        self.topics = spec.topics
        self.consumer = parts.make_consumer(
            ConsumerOptions(
                topics=self.topics,
                channel=spec.channel,
                connection=connection_options(settings, holds_s=spec.holds_s, log=self._log),
                max_in_flight=self._slots.left,
                is_fixed=settings.rdy == "fixed" or spec.max_messages is not None,
                min_rdy=spec.max_messages or 0,
                is_age_limited=spec.max_age_s is not None,
            ),
            on_messages=self.intake.receive,
            on_settle_failure=self._meter.settle_failure,
            on_lost=self.intake.drop_lost,
            log=self._log,
        )

    def _make_dispatcher(
        self, ready: ReadyHandler, rules: Rules, parts: WorkerParts
    ) -> Dispatcher | BatchDispatcher:
        spec, handler = self.spec, ready.handler
        is_batch = isinstance(handler, BatchHandler)
        rules = replace(rules, keeps_dead_letters=True)  # resources see a dead letter that will be discarded
        scope = Scope(
            ready.openings,
            is_threaded=not (spec.is_async or spec.run_on_loop),
            timeout_s=math.inf if spec.run_on_loop else spec.timeout_s,
            verdict_of=succeeded if is_batch else partial(_verdict_of, rules, spec.name),
        )
        around: dict[str, Any] = {
            "middleware": ready.hooks.around_handle,
            "executor_waits": self._meter.executor_waits,
            "scope": scope,
            "now_s": self._now_s,
        }
        if isinstance(handler, BatchHandler):
            threads = spec.threads or parts.settings.threads
            return BatchDispatcher(
                handler,
                around_batch=ready.hooks.around_batch,
                threads=threads,
                log=self._log,
                may_rerun=lambda: self.gate.is_open,
                **around,
            )
        return Dispatcher(handler, threads=spec.slots(parts.settings.threads), **around)

    def _make_slots(self, settings: Settings) -> Slots:
        count = self.spec.slots(settings.threads)
        has_queue = isinstance(self.dispatcher, Dispatcher) and self.dispatcher.pool is not None
        most = self.spec.most_in_flight if has_queue else count
        return Slots(count, self.gate, resize=self._resize, most=most)

    def _make_intake(self, shared: Shared, ready: ReadyHandler, parts: WorkerParts) -> Intake:
        settings = parts.settings
        self._outcome_log = OutcomeLog(
            shared,
            log_success=settings.log_success,
            success_ratio=settings.log_success_ratio,
            log_stacks=settings.log_level == "debug",
            folds=Folds() if logs.folds_failures() else None,
        )
        settler = Settler(
            shared,
            publishes=parts.publishes,
            dead_letters=DeadLetterPublisher(
                shared,
                publishes=parts.publishes,
                block=self.block,
                confirmed=self._on_dead_letter,
                max_msg_bytes=parts.max_msg_bytes,
                limit_of=parts.limit_of,
            ),
            outcome_log=self._outcome_log,
            hooks=ready.hooks.on_settled,
            unhandled=ready.hooks.on_unhandled,
            observer=parts.observer,
            on_failure=parts.on_failure,
        )
        decoder = Decoder(
            shared.spec.topic,
            shared.spec.event_types,
            select=shared.spec.select,
            codec=shared.spec.codec,
            max_msg_bytes=parts.max_msg_bytes,
        )
        processor = Processor(
            shared,
            decoder=decoder,
            dispatcher=self.dispatcher,
            settler=settler,
            gate=self.gate,
            monitor=self._monitor,
        )
        return Intake(
            shared,
            slots=self._slots,
            gate=self.gate,
            quarantine=parts.quarantine,
            dispatcher=self.dispatcher,
            decoder=decoder,
            settler=settler,
            monitor=self._monitor,
            processor=processor,
        )

    @property
    def is_blocked(self) -> bool:
        """Whether the intake is stopped because nsqd refuses dead letters."""
        return bool(self._blocked)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the handler is not ready, one line each; empty if it is."""
        if self._blocked:
            return (redact(self._blocked),)
        found = () if self.consumer.ready else self.consumer.problems or ("not connected yet",)
        if lost := self.intake.lost_slots:
            found += (f"{lost} of {self._slots.count} slots are lost: their handler calls do not end",)
        name = f"{self.spec.name} ({self.spec.topic}/{self.spec.channel})"
        return tuple(redact(f"{name}: {problem}") for problem in found)

    @property
    def state(self) -> HandlerState:
        """The handler's current state, as the admin port shows it."""
        gate, spec = self.gate, self.spec
        remaining_s = gate.until_s - self._now_s()
        return HandlerState(
            name=spec.name,
            topic=spec.topic,
            channel=spec.channel,
            held=self.intake.held,
            max_in_flight=self._slots.left,
            state=self._intake_state(),
            remaining_s=remaining_s if 0.0 < remaining_s < math.inf else None,
            problems=self.problems,
            lost_slots=self.intake.lost_slots,
        )

    def _intake_state(self) -> IntakeState:
        if self.gate.reason is not None:
            return _SHUT[self.gate.reason]
        if self.gate.is_on_trial:
            return IntakeState.HALF_OPEN
        return IntakeState.RATE_LIMITED if self.intake.is_rate_limited else IntakeState.RUNNING

    @property
    def next_requeue_s(self) -> float:
        """Seconds until the first of the messages that were requeued with a delay is due; else infinite."""
        next_s = self._requeues.next_in_s(self._now_s())
        return math.inf if next_s is None else next_s

    @property
    def resumes_by_itself(self) -> bool:
        """Whether the intake is paused and resumes by itself at a known time."""
        return 0.0 < self.gate.until_s < math.inf

    def pause(self, for_s: float = math.inf) -> None:
        """Pause the intake; of several pauses the one that ends last counts.

        Args:
            for_s: Seconds above 0; infinite until :meth:`resume`.
        """
        self.gate.shut(RequeueReason.PAUSED, for_s)

    def resume(self) -> None:
        """End the pause that :meth:`pause` began."""
        self.gate.open(RequeueReason.PAUSED)

    def block(self, why: str) -> None:
        """Stop the intake until a person has corrected the cause, and report the handler as not ready.

        It is probed after 15 s at first, growing to 5 minutes: then messages are tried one by one, until one
        is handled or its dead letter is confirmed.

        Args:
            why: One line for the log and ``/readyz``.
        """
        if self._probe is not None:
            return
        self._blocks += 1
        self._blocked = why
        probe_in_s = rest_s(_PROBE_S, self._blocks)
        self._log.error("intake_blocked", reason=why, probe_in_s=probe_in_s)
        self._monitor.block()
        self._probe = asyncio.get_running_loop().call_later(probe_in_s, self._try_again)

    def close(self) -> None:
        """Stop timers and threads; call it after the drain."""
        if self._probe is not None:
            self._probe.cancel()
        self.gate.close()
        self.intake.close()
        self.dispatcher.close()
        self._outcome_log.close()

    def _try_again(self) -> None:
        self._probe = None
        self.gate.open(RequeueReason.DEAD_LETTER_FAILED)

    def _on_dead_letter(self) -> None:
        if self._blocks and self._probe is None:
            self._blocks = 0
            self._monitor.unblock()

    def _resize(self, max_in_flight: int) -> None:
        self._meter.max_in_flight(max_in_flight)
        self._meter.lost_slots(self._slots.lost)
        self.consumer.set_max_in_flight(max_in_flight)

    def _apply(self, flow: Flow) -> None:
        self._meter.paused(flow is Flow.SHUT)
        match flow:
            case Flow.OPEN:
                if self._blocked:
                    self._log.info("intake_unblocked")
                    self._blocked = ""
                self.consumer.resume()
            case Flow.TRIAL:
                self.consumer.trial()
            case Flow.SHUT:
                self.consumer.pause()


def _rules(spec: HandlerSpec, settings: Settings) -> Rules:
    return Rules(
        retry=spec.retry,
        on_unknown=spec.on_unknown or "requeue",
        max_age_s=spec.max_age_s,
        on_expired=spec.on_expired,
        keeps_dead_letters=spec.keeps_dead_letters,
        max_delay_s=settings.max_requeue_delay_s,
    )


def _verdict_of(rules: Rules, name: str, returned: Any, ctx: Context) -> Verdict:
    """Return the verdict for the ``yield`` of a resource. Jitter is drawn later, when settling."""
    outcome = checked(Finish() if returned is None else returned, f"{name}.handle")
    return on_outcome(rules, outcome, attempts=ctx.delivery.attempts, draw=0.0)
