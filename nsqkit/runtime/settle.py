"""Settle: carry out verdicts. Every delivery has exactly one outcome, counted and logged once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from nsqkit.errors import PublishError
from nsqkit.handler.context import Context
from nsqkit.handler.extension import OnSettled
from nsqkit.handler.outgoing import Outgoing
from nsqkit.policy.kill_switch import SwitchState
from nsqkit.policy.leaves import type_name
from nsqkit.policy.outage import is_attempt
from nsqkit.policy.redaction import redact
from nsqkit.policy.refusal import Fault, fault_behind
from nsqkit.policy.verdict import (
    LEASE_LOST,
    SUCCESS,
    OutcomeLabel,
    Verdict,
    on_publish_failure,
    on_refused_events,
)
from nsqkit.runtime.dead_letter_publisher import DeadLetterPublisher
from nsqkit.runtime.delivery import Delivery, Shared
from nsqkit.runtime.follow_ups import publish_together
from nsqkit.runtime.outcome_log import OutcomeLog
from nsqkit.runtime.ports import Publishes

_DONE = frozenset({OutcomeLabel.SUCCESS, OutcomeLabel.DISCARD})
_COMES_AGAIN = frozenset({OutcomeLabel.REQUEUE, OutcomeLabel.LEASE_LOST})

Observer = Callable[[Delivery, Verdict, BaseException | None], None]
"""Called with each settled delivery, its verdict, and the exception that caused it, if any."""


OnFailure = Callable[[Delivery, Verdict | None, BaseException], None]
"""Called with each delivery that an exception ended, its verdict, and the exception; None if it is kept."""


class Settler:
    """Settles the deliveries of one handler.

    Args:
        shared: State shared by the handler's deliveries.
        publishes: Publishes follow-up events and awaits nsqd's OK.
        dead_letters: Publishes dead letters.
        outcome_log: Logs outcomes.
        hooks: ``on_settled`` hooks of extensions, called after every outcome.
        unhandled: ``on_unhandled`` hooks, called after the outcome of a message whose handler was not called.
        observer: Called with every outcome and its delivery, as the test harness needs; None for none.
        on_failure: Called with every delivery that an exception ended; None for none.

    Attributes:
        is_told: Whether somebody wants to know of each success, and not only of their number.
        unlogged: Number of successes without a log line before the next one with one; infinite if none has.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        publishes: Publishes,
        dead_letters: DeadLetterPublisher,
        outcome_log: OutcomeLog,
        hooks: Sequence[OnSettled] = (),
        unhandled: Sequence[OnSettled] = (),
        observer: Observer | None = None,
        on_failure: OnFailure | None = None,
    ) -> None:
        self._name = shared.spec.name
        self._rules = shared.rules
        self._meter = shared.meter
        self._clock = shared.clock
        self._now_s = shared.clock.now_s
        self._requeues = shared.requeues
        self._publishes = publishes
        self._dead_letters = dead_letters
        self._outcome_log = outcome_log
        self._hooks = hooks
        self._unhandled = unhandled
        self._observer = observer
        self._on_failure = on_failure
        self.is_told = observer is not None or bool(hooks)
        self.unlogged = outcome_log.unlogged()
        self._log = shared.log

    async def settle(
        self,
        delivery: Delivery,
        verdict: Verdict,
        *,
        error: BaseException | None = None,
        outgoing: Sequence[Outgoing] = (),
    ) -> None:
        """Carry out a verdict; first publish the follow-up events or the dead letter.

        Args:
            delivery: The delivery to settle.
            verdict: The decision on its outcome.
            error: The exception that caused the verdict, for the log and the dead letter; None if none did.
            outgoing: Follow-up events of the handler; they are sent only if it succeeded.
        """
        leaving = outgoing if verdict.label is OutcomeLabel.SUCCESS and error is None else ()
        if delivery.is_lost(self._now_s()):
            delivery.is_done = verdict.label in _DONE and not leaving
            verdict, leaving = _lost(verdict), ()
        elif leaving:
            verdict, error = await self._publish(delivery, verdict, leaving)
        if len(leaving) < len(outgoing):
            _drop(outgoing, error)
        if verdict.label is OutcomeLabel.DEAD_LETTER:
            verdict = await self._dead_letters.publish(delivery, verdict, error)
        self.settle_now(delivery, verdict, error)

    def keep(self, delivery: Delivery, reason: str, error: BaseException | None) -> None:
        """Give a delivery no outcome: it waits, to be handled again. Drop its follow-up events.

        Args:
            delivery: The delivery to keep.
            reason: Why the intake pauses.
            error: The exception that the handler raised, if any.
        """
        if delivery.ctx is not None:
            _drop(delivery.ctx.outgoing, error)
        if error is not None:
            self._meter.error(type_name(error))
            self._failed(delivery, None, error)
        delivery.is_kept = True
        self._outcome_log.kept(delivery, reason, error)
        for each in delivery.ctx.recorders if delivery.ctx is not None else ():
            with self._guarding(delivery):
                each.kept(reason, error)

    def switched(self, delivery: Delivery, state: SwitchState) -> None:
        """Report to extensions that the result of a delivery has changed the state of the kill switch."""
        for each in delivery.ctx.recorders if delivery.ctx is not None else ():
            with self._guarding(delivery):
                each.switched(state)

    def settle_now(self, delivery: Delivery, verdict: Verdict, error: BaseException | None = None) -> None:
        """Send FIN or REQ, count and log, without waiting."""
        if verdict is SUCCESS and error is None and self._succeed(delivery):
            return
        is_done = verdict.label in _DONE or verdict.label is OutcomeLabel.DEAD_LETTER
        delivery.is_done |= is_done or verdict.is_stored
        self._record(delivery, self._send(delivery, verdict), error)

    def _succeed(self, delivery: Delivery) -> bool:
        """Finish a success the fast way; return False if it is to be logged or its lease is lost."""
        if not self.unlogged:
            self.unlogged = self._outcome_log.unlogged()
            return False
        if delivery.is_over(self._now_s()) or not delivery.message.finish():
            return False
        self.unlogged -= 1
        delivery.is_done = True
        self._meter.processed(OutcomeLabel.SUCCESS)
        if self._observer is not None:
            self._observer(delivery, SUCCESS, None)
        for hook in self._hooks:  # as in _record, without a call: a hook costs one call per message
            try:
                hook(delivery.ctx or delivery.make_context(), SUCCESS, None)
            except BaseException:  # noqa: BLE001 - the message is settled already
                self._hook_failed(delivery)
        if delivery.ctx is not None and delivery.ctx.recorders:
            self._tell_recorders(delivery.ctx, delivery, SUCCESS, None)
        return True

    async def _publish(
        self, delivery: Delivery, verdict: Verdict, leaving: Sequence[Outgoing]
    ) -> tuple[Verdict, BaseException | None]:
        message = delivery.message
        try:
            await publish_together(self._publishes, message.address, leaving)
        except PublishError as failure:
            detail = redact(str(failure))
            if all(each.is_stored for each in leaving):
                self._log.warning("events_left_in_outbox", detail=detail, **delivery.log_fields)
                return verdict, None
            is_setup = fault_behind(failure) is Fault.SETUP
            if is_setup:
                self._dead_letters.block(f"{self._name} cannot publish its events: {failure}")
            decide = on_refused_events if is_setup else on_publish_failure
            attempts, draw = delivery.attempts, self._clock.draw()
            return decide(self._rules, detail, attempts=attempts, draw=draw), failure
        self._dead_letters.confirmed()
        return verdict, None

    def _send(self, delivery: Delivery, verdict: Verdict) -> Verdict:
        """Send FIN or REQ; return the verdict, or lease lost if it could not be sent."""
        message = delivery.message
        if verdict.label is OutcomeLabel.LEASE_LOST or delivery.is_lost(self._now_s()):
            message.forget()
            return _lost(verdict)
        requeue = verdict.label is OutcomeLabel.REQUEUE and not verdict.is_stored
        sent = message.requeue(verdict.delay_s) if requeue else message.finish()
        if requeue and sent and verdict.delay_s > 0:
            self._requeues.add(verdict.delay_s, now_s=self._now_s())
        return verdict if sent else _lost(verdict)

    def _record(self, delivery: Delivery, verdict: Verdict, error: BaseException | None) -> None:
        meter = self._meter
        meter.processed(verdict.label)
        if verdict.label in _COMES_AGAIN and not verdict.is_stored:
            delivery.remember(is_attempt=delivery.task is not None and is_attempt(verdict))
        if verdict.label is OutcomeLabel.REQUEUE:
            meter.requeued(verdict.reason)
        elif verdict.label is OutcomeLabel.DEAD_LETTER:
            meter.dead_lettered(verdict.reason)
        if error is not None and delivery.ctx is not None:
            meter.error(type_name(error))
        if error is not None:
            self._failed(delivery, verdict, error)
        if verdict.clamped:
            meter.delay_clamped()
            self._outcome_log.clamped(delivery, verdict)
        self._outcome_log.settled(delivery, verdict, error)
        if self._observer is not None:
            self._observer(delivery, verdict, error)
        hooks = self._hooks if delivery.ctx is not None else (*self._unhandled, *self._hooks)
        for hook in hooks:
            with self._guarding(delivery):
                hook(delivery.ctx or delivery.make_context(), verdict, error)
        if delivery.ctx is not None:
            self._tell_recorders(delivery.ctx, delivery, verdict, error)

    def _failed(self, delivery: Delivery, verdict: Verdict | None, error: BaseException) -> None:
        if self._on_failure is not None:
            with self._guarding(delivery):
                self._on_failure(delivery, verdict, error)

    def _tell_recorders(
        self, ctx: Context, delivery: Delivery, verdict: Verdict, error: BaseException | None
    ) -> None:
        for each in ctx.recorders:
            with self._guarding(delivery):
                each.settled(verdict, error)

    @contextmanager
    def _guarding(self, delivery: Delivery) -> Iterator[None]:
        """Log an error of an extension: the message is settled already."""
        try:
            yield
        except BaseException:  # noqa: BLE001 - a team's code may raise anything
            self._hook_failed(delivery)

    def _hook_failed(self, delivery: Delivery) -> None:
        self._log.exception("extension_failed", hook="on_settled", **delivery.log_fields)


def _lost(verdict: Verdict) -> Verdict:
    """Return the verdict lease lost with the detail of the original verdict."""
    return replace(LEASE_LOST, detail=verdict.detail)


def _drop(outgoing: Sequence[Outgoing], error: BaseException | None) -> None:
    """Report that messages are not sent, since their handler did not succeed."""
    for each in outgoing:
        each.done(error or PublishError(each.topic, "", "its handler did not succeed", False))  # noqa: FBT003
