"""Process: take one started delivery from its body to its outcome."""

import asyncio
from typing import Any

from nsqkit.errors import DecodeError, UnknownEventError
from nsqkit.events.codec.decoder import Decoder
from nsqkit.handler.context import Context
from nsqkit.handler.current import CURRENT, NO_MESSAGE
from nsqkit.policy.outcome import Finish
from nsqkit.policy.redaction import describe
from nsqkit.policy.verdict import (
    LEAST_REST_S,
    SHUTDOWN,
    SUCCESS,
    OutcomeLabel,
    RequeueReason,
    Verdict,
    on_arrival,
    on_error,
    on_stored,
    on_unread,
)
from nsqkit.runtime.batch import BatchDispatcher
from nsqkit.runtime.batch_call import WithheldError
from nsqkit.runtime.delivery import Delivery, Shared
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.failure import as_failure, is_from_outside
from nsqkit.runtime.failure_monitor import FailureMonitor
from nsqkit.runtime.gate import Gate
from nsqkit.runtime.settle import Settler

SETTLING_RETRY_S = 30.0
"""Requeue delay of a message whose settling raised an unexpected error."""
WITHHELD = Verdict(OutcomeLabel.REQUEUE, RequeueReason.PAUSED, pause_s=LEAST_REST_S)
"""Verdict on a message of a failed batch that was not handled again, since the gate was shut."""


class Processor:
    """Decodes a delivery, calls its handler, and settles the outcome.

    Args:
        shared: State shared by the handler's deliveries.
        decoder: Decodes the event types that the handler takes.
        dispatcher: Calls the handler inside its middleware.
        settler: Carries out verdicts.
        gate: Requests another message when a trial did not reach the handler.
        monitor: Records the result of each handler call.

    Attributes:
        is_stopping: Whether the worker drains; a cancelled handler is no failure then.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        decoder: Decoder,
        dispatcher: Dispatcher | BatchDispatcher,
        settler: Settler,
        gate: Gate,
        monitor: FailureMonitor,
    ) -> None:
        self.is_stopping = False
        self._limit_s = shared.limit_s
        self._rules = shared.rules
        self._meter = shared.meter
        self._log = shared.log
        self._clock = shared.clock
        self._decoder = decoder
        self._dispatcher = dispatcher
        self._settler = settler
        self._gate = gate
        self._monitor = monitor

    async def run(self, delivery: Delivery) -> None:
        """Process a delivery up to its outcome, whatever is raised; its call may have begun already."""
        try:
            if (unfit := self._read(delivery)) is None:
                await self._handle(delivery)
            else:
                await self._settler.settle(delivery, unfit, error=delivery.unread)
                self._gate.repeat_trial()
        except BaseException as error:
            if is_from_outside(error, delivery.task, is_stopping=self.is_stopping):
                raise
            self._log.exception("settling_failed", **delivery.log_fields)
            verdict = Verdict(OutcomeLabel.REQUEUE, RequeueReason.ERROR, SETTLING_RETRY_S, describe(error))
            self._settler.settle_now(delivery, verdict)

    def _read(self, delivery: Delivery) -> Verdict | None:
        """Decode a delivery; return a verdict if the handler is not to be called."""
        message = delivery.message
        if delivery.unread is not None:
            return on_unread(self._rules, delivery.unread, attempts=delivery.attempts)
        if delivery.call is not None:
            return None
        age_s = (self._clock.now_ns_at(message.address) - message.timestamp_ns) / 1e9
        self._meter.age(age_s)
        known_s = None if self._clock.skews_ns[message.address] is None else age_s
        verdict = on_arrival(self._rules, attempts=delivery.attempts, age_s=known_s)
        if verdict is not None:
            return verdict
        try:
            delivery.decoded = self._decoder.decode(message.body)
        except (DecodeError, UnknownEventError) as error:
            delivery.unread = error
            return on_unread(self._rules, error, attempts=delivery.attempts)
        return None

    async def _handle(self, delivery: Delivery) -> None:
        verdict: Verdict
        error: Exception | None
        is_over = False
        if (ctx := delivery.ctx) is None:
            ctx = delivery.make_context()
            now_s = ctx.start(self._limit_s)
            is_over = now_s >= delivery.quiet_until_s and delivery.is_over(now_s)  # it waited too long
        verdict, error = (SHUTDOWN, None) if is_over else await self._call(delivery, ctx)
        is_judged = self._monitor.is_watching or error is not None or verdict.pause_s > 0.0
        if is_judged and self._is_kept(delivery, verdict, error):
            self._settler.keep(delivery, self._gate.reason or RequeueReason.PAUSED, error)
        elif ctx.outgoing or verdict.label is OutcomeLabel.DEAD_LETTER:
            delivery.watch(delivery)  # publishing takes time
            await self._settler.settle(delivery, verdict, error=error, outgoing=ctx.outgoing)
        else:
            self._settler.settle_now(delivery, verdict, error)

    def _is_kept(self, delivery: Delivery, verdict: Verdict, error: Exception | None) -> bool:
        """Return whether a delivery waits for the end of an outage instead of being settled."""
        if verdict is SHUTDOWN:
            self._gate.repeat_trial()
            return False
        if verdict is not WITHHELD:
            retry = self._rules.retry
            is_ruled = error is not None and retry.outcome_for(error) is not None
            has_events = delivery.ctx is not None and bool(delivery.ctx.outgoing)
            publishes = has_events or verdict.label is OutcomeLabel.DEAD_LETTER
            failure = error or delivery.overran
            before = self._monitor.switch_state
            is_outage = self._monitor.judge(
                delivery.epoch, verdict, failure, is_ruled=is_ruled, publishes=publishes
            )
            if self._monitor.switch_state is not before:
                self._settler.switched(delivery, self._monitor.switch_state)
            if not is_outage or (error is not None and not retry.retries(error)):
                return False
            if error is None and verdict.pause_s == 0.0:  # it has returned, though late
                return False
        return not self.is_stopping and not delivery.is_lost(self._clock.now_s())

    async def _call(self, delivery: Delivery, ctx: Context) -> tuple[Verdict, Exception | None]:
        """Call the handler and measure its time; return the verdict on its outcome, and its error."""
        decoded, call, delivery.call = delivery.decoded, delivery.call, None
        delivery.in_handler = True
        CURRENT.set(ctx)
        try:
            call = call or self._dispatcher.call(decoded.event if decoded else None, ctx)
            outcome: Any = await call
        except WithheldError:
            return WITHHELD, None
        except asyncio.CancelledError:
            if self.is_stopping or ctx.lease_lost:
                return SHUTDOWN, None
            stray = RuntimeError("the handler raised CancelledError, but nsqkit did not cancel it")
            return self._failed(delivery, stray)
        except BaseException as error:
            if is_from_outside(error, delivery.task, is_stopping=self.is_stopping):
                raise
            return self._failed(delivery, as_failure(error))
        finally:
            CURRENT.set(NO_MESSAGE)
            delivery.in_handler = False
            if ctx.started_s is not None:
                duration_s = self._clock.now_s() - ctx.started_s
                self._meter.duration(duration_s)
                for each in ctx.recorders:
                    self._meter.exemplar(each.trace_id, duration_s, self._clock.now_ns() / 1e9)
        if type(outcome) is Finish:
            return SUCCESS, None
        verdict = delivery.verdict_on(outcome)
        return (on_stored(verdict) if ctx.is_stored and verdict.clamped else verdict), None

    def _failed(self, delivery: Delivery, error: Exception) -> tuple[Verdict, Exception]:
        attempts, draw = delivery.attempts, self._clock.draw()
        return on_error(self._rules, error, describe(error), attempts=attempts, draw=draw), error
