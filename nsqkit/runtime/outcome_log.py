"""Outcome log: writes one line for each delivery that was not a plain success."""

from nsqkit.handler.origin import place_of
from nsqkit.policy.leaves import type_name
from nsqkit.policy.redaction import describe, redact
from nsqkit.policy.verdict import OutcomeLabel, Verdict
from nsqkit.runtime.delivery import Delivery, Shared
from nsqkit.runtime.failure import stack_of


class OutcomeLog:
    """Logs the outcomes of one handler's deliveries.

    Args:
        shared: State shared by the handler's deliveries.
        log_success: Whether to log successes too.
        log_stacks: Whether to log the stack trace of a failed handler, at level debug.
    """

    def __init__(self, shared: Shared, *, log_success: bool = False, log_stacks: bool = False) -> None:
        self.log_success = log_success
        self._log_stacks = log_stacks
        self._log = shared.log
        self._now_s = shared.clock.now_s

    def clamped(self, delivery: Delivery, verdict: Verdict) -> None:
        """Log that a requeue delay was longer than the setting allows, and was shortened."""
        self._log.warning("requeue_delay_clamped", delay_s=verdict.delay_s, **delivery.log_fields)

    def kept(self, delivery: Delivery, reason: str, error: BaseException | None) -> None:
        """Log that a message waits, to be handled again when the outage is over."""
        fields = delivery.log_fields | {"reason": reason}
        if error is not None:
            fields |= {"error_type": type_name(error), "detail": describe(error)}
            if at := place_of(error):
                fields["at"] = at
        self._log.info("message_kept", **fields)

    def settled(self, delivery: Delivery, verdict: Verdict, error: BaseException | None) -> None:
        """Log an outcome; a success only with ``log_success`` or a detail."""
        if verdict.label is OutcomeLabel.SUCCESS and not verdict.detail and not self.log_success:
            return
        failed = verdict.label in {OutcomeLabel.DEAD_LETTER, OutcomeLabel.LEASE_LOST} or error is not None
        write = self._log.warning if failed else self._log.info
        fields = {
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
