"""Outcome log: writes one line for each delivery that was not a plain success, or counts it."""

import asyncio
import math
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

from nsqkit.handler.current import without_message
from nsqkit.handler.origin import place_of
from nsqkit.policy.folds import Folds
from nsqkit.policy.leaves import type_name
from nsqkit.policy.redaction import describe, redact
from nsqkit.policy.sampling import left_out
from nsqkit.policy.verdict import OutcomeLabel, Verdict
from nsqkit.runtime.delivery import Delivery, Shared
from nsqkit.runtime.failure import stack_of

_COMMON = ("outcome", "reason", "error_type", "at", "detail")


class FirstLine(NamedTuple):
    """A line that was logged, for the count of its repeats.

    Args:
        fields: What its repeats have in common with it.
        failed: Whether it was a warning.
    """

    fields: Mapping[str, Any]
    failed: bool


_OTHERS = FirstLine({"outcome": "other outcomes"}, failed=True)


class OutcomeLog:
    """Logs the outcomes of one handler's deliveries.

    Args:
        shared: State shared by the handler's deliveries.
        log_success: Whether to log successes too.
        success_ratio: Share of the successes to log then, 0 to 1.
        log_stacks: Whether to log the stack trace of a failed handler, at level debug.
        folds: Counts repeats of an outcome instead of logging each; None to log each.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        log_success: bool = False,
        success_ratio: float = 1.0,
        log_stacks: bool = False,
        folds: Folds[FirstLine] | None = None,
    ) -> None:
        self._success_ratio = success_ratio if log_success else 0.0
        self._log_stacks = log_stacks
        self._folds = folds
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = math.inf  # when it fires
        self._log = shared.log
        self._spec = shared.spec
        self._max_attempts = shared.rules.retry.max_attempts
        self._now_s = shared.clock.now_s
        self._draw = shared.clock.draw

    def clamped(self, delivery: Delivery, verdict: Verdict) -> None:
        """Log that a requeue delay was longer than the setting allows, and was shortened."""
        self._log.warning("requeue_delay_clamped", delay_s=verdict.delay_s, **delivery.log_fields)

    def kept(self, delivery: Delivery, reason: str, error: BaseException | None) -> None:
        """Log that a message waits, to be handled again when the outage is over."""
        kind = self._kind("kept", reason, error)
        if self._is_counted(kind):
            return
        fields = delivery.log_fields | {"reason": reason}
        if error is not None:
            fields |= {"error_type": type_name(error), "detail": describe(error)}
            if at := place_of(error):
                fields["at"] = at
        self._log.info("message_kept", **fields)
        self._remember(kind, dict(fields, outcome="kept"), failed=False)

    def settled(self, delivery: Delivery, verdict: Verdict, error: BaseException | None) -> None:
        """Log an outcome. A success without a detail must be one that :meth:`unlogged` has chosen."""
        is_success = verdict.label is OutcomeLabel.SUCCESS
        kind = self._kind(verdict.label, verdict.reason, error)
        if not is_success and self._is_counted(kind):
            return
        failed = verdict.label in {OutcomeLabel.DEAD_LETTER, OutcomeLabel.LEASE_LOST} or error is not None
        write = self._log.warning if failed else self._log.info
        fields = {
            "max_attempts": self._max_attempts,
            "outcome": str(verdict.label),
            "reason": str(verdict.reason) or None,
            "delay_s": round(verdict.delay_s, 3) if verdict.label is OutcomeLabel.REQUEUE else None,
            "error_type": type_name(error) if error else None,
            "at": place_of(error) or None,
            "detail": redact(str(verdict.detail)) or None,
            "latency_ms": round((self._now_s() - delivery.message.received_s) * 1000, 3),
        }
        present = {name: value for name, value in fields.items() if value is not None}
        write("message_settled", **delivery.log_fields, **present)
        if self._log_stacks and error is not None and delivery.ctx is not None:
            self._log.debug("handler_stack", **delivery.log_fields, exception=stack_of(error))
        if not is_success:
            self._remember(kind, present, failed=failed)

    def close(self) -> None:
        """Log the counts that are left, and stop the timer. Final."""
        if self._timer is not None:
            self._timer.cancel()
        self._log_repeats(all_counts=True)

    def unlogged(self) -> float:
        """Return how many plain successes to leave out before the next one to log; infinite to log none."""
        return left_out(self._success_ratio, draw=self._draw())

    def _kind(self, outcome: str, reason: str, error: BaseException | None) -> Hashable:
        """Return what like lines have in common: their outcome, and the place that raised the error."""
        return (outcome, reason, type(error), _raised_at(error)) if self._folds is not None else None

    def _is_counted(self, kind: Hashable) -> bool:
        """Return whether a line repeats another and is counted instead; log the counts that are due."""
        if self._folds is None:
            return False
        now_s = self._now_s()
        if now_s >= self._folds.due_s:
            self._log_repeats()
        if not self._folds.count(kind, now_s=now_s):
            return False
        self._set_timer()
        return True

    def _remember(self, kind: Hashable, fields: Mapping[str, Any], *, failed: bool) -> None:
        if self._folds is not None:
            common = {name: fields[name] for name in _COMMON if name in fields}
            self._folds.add(kind, FirstLine(common, failed), now_s=self._now_s())

    def _log_repeats(self, *, all_counts: bool = False) -> None:
        if self._folds is None:
            return
        spec = self._spec
        bound = {"topic": spec.topic, "channel": spec.channel, "handler": spec.name}
        for line, times, for_s in self._folds.take(now_s=self._now_s(), all_counts=all_counts):
            fields, failed = line or _OTHERS
            write = self._log.warning if failed else self._log.info
            write("outcomes_repeated", **bound, **fields, count=times, for_s=round(for_s, 1))

    def _set_timer(self) -> None:
        """Let the timer fire when the first count is due, unless it fires before."""
        if self._folds is None or self._folds.due_s >= self._timer_s:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = self._folds.due_s
        delay_s = max(0.0, self._timer_s - self._now_s())
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay_s, self._on_timer, context=without_message())

    def _on_timer(self) -> None:
        self._timer, self._timer_s = None, math.inf
        self._log_repeats()
        self._set_timer()


def _raised_at(error: BaseException | None) -> Hashable:
    """Return what tells places that raise an error apart: the lines of its stack, and the innermost code."""
    trace = error.__traceback__ if error is not None else None
    code, lines = None, []
    while trace is not None:
        code = trace.tb_frame.f_code
        lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return (code, *lines)
