"""Recorders: write into a span what happens to its messages, and end it with their outcome."""

from collections.abc import Mapping

from opentelemetry.trace import Span, Status, StatusCode, format_span_id, format_trace_id

from nsqkit.policy.breaker import BreakerState
from nsqkit.policy.kill_switch import SwitchState
from nsqkit.policy.leaves import type_name
from nsqkit.policy.redaction import describe, redact
from nsqkit.policy.verdict import OutcomeLabel, Verdict
from nsqkit.telemetry.traces import conventions as names

_FAILED = frozenset({OutcomeLabel.DEAD_LETTER, OutcomeLabel.LEASE_LOST})
_EVENTS = {OutcomeLabel.REQUEUE: names.REQUEUED, OutcomeLabel.DEAD_LETTER: names.DEAD_LETTERED}


class ProcessSpan:
    """The span in which messages are processed: one message, or all those of one call with a batch.

    Args:
        span: A span that records.
        messages: Number of messages; the span ends with the outcome of the last one.

    Attributes:
        log_fields: The ids of trace and span, as log lines carry them.
    """

    def __init__(self, span: Span, messages: int = 1) -> None:
        self.span = span
        self.log_fields = _log_fields_of(span)
        self._left = messages

    def breaker(self, dependency: str, state: BreakerState) -> None:
        """Add an event for the change of a breaker by a call of the handler."""
        self.span.add_event(names.BREAKER, {names.DEPENDENCY: dependency, names.STATE: str(state)})

    def fail(self, error: BaseException | None, kind: str, detail: str) -> None:
        """Mark the span as failed.

        Args:
            error: The exception that caused the failure; None if none did.
            kind: The ``error.type`` if there is no exception.
            detail: One line about the cause, redacted.
        """
        if error is not None:
            kind = type_name(error)
            exception = {names.EXCEPTION_TYPE: kind, names.EXCEPTION_MESSAGE: describe(error)}
            self.span.add_event(names.EXCEPTION, exception)
        self.span.set_attribute(names.ERROR_TYPE, kind)
        self.span.set_status(Status(StatusCode.ERROR, detail or kind))

    def leave(self) -> None:
        """End the span if this was its last message."""
        self._left -= 1
        if not self._left:
            self.span.end()


class MessageRecorder:
    """Writes the outcome of one message into its span.

    Args:
        process: The span that the message is processed in.
        fields: Attributes of its events: which message of a batch they are about.
        is_single: Whether the span is about this message alone.
    """

    def __init__(self, process: ProcessSpan, fields: Mapping[str, str], *, is_single: bool) -> None:
        self.process = process
        self._fields = fields
        self._is_single = is_single

    @property
    def log_fields(self) -> Mapping[str, str]:
        """The ids of trace and span."""
        return self.process.log_fields

    @property
    def trace_id(self) -> str:
        """The id of the trace."""
        return self.process.log_fields["trace_id"]

    def settled(self, verdict: Verdict, error: BaseException | None) -> None:
        """Record the outcome, and end the span if this was its last message."""
        if self._is_single:
            self.process.span.set_attribute(names.OUTCOME, str(verdict.label))
        if error is not None or verdict.label in _FAILED:
            self.process.fail(error, str(verdict.reason or verdict.label), redact(verdict.detail))
        if name := _EVENTS.get(verdict.label):
            delay = {names.DELAY_S: verdict.delay_s} if verdict.label is OutcomeLabel.REQUEUE else {}
            self.process.span.add_event(name, {names.REASON: str(verdict.reason), **delay, **self._fields})
        self.process.leave()

    def kept(self, reason: str, error: BaseException | None) -> None:
        """Record that the message waits for the end of an outage; its next try has another span."""
        if error is not None:
            self.process.fail(error, reason, describe(error))
        self.process.span.add_event(names.KEPT, {names.REASON: reason, **self._fields})
        self.process.leave()

    def switched(self, state: SwitchState) -> None:
        """Add an event for the change of the handler's kill switch."""
        self.process.span.add_event(names.KILL_SWITCH, {names.STATE: str(state)})


def _log_fields_of(span: Span) -> Mapping[str, str]:
    """Return the ids of a span and of its trace in hexadecimal digits."""
    found = span.get_span_context()
    return {"trace_id": format_trace_id(found.trace_id), "span_id": format_span_id(found.span_id)}
