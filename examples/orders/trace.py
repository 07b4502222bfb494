"""Trace: the W3C trace context of a request, which every service passes on."""

import re
import secrets
from dataclasses import dataclass
from typing import Final, Self

from opentelemetry import trace

_FORM: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Trace:
    """The identity of one request in one service.

    Args:
        trace_id: 32 hex digits, the same in all services.
        span_id: 16 hex digits, of this service.
        flags: 2 hex digits.
    """

    trace_id: str
    span_id: str
    flags: str

    @classmethod
    def of(cls, traceparent: str | None) -> Self:
        """Return OpenTelemetry's current span; without one, continue the trace of a caller, or begin one.

        Args:
            traceparent: The caller's header of that name; a wrong one counts as none.
        """
        span = trace.get_current_span().get_span_context()
        if span.is_valid:  # it continues the trace of the caller, too
            ids = (trace.format_trace_id(span.trace_id), trace.format_span_id(span.span_id))
            return cls(*ids, f"{span.trace_flags:02x}")
        found = _FORM.fullmatch(traceparent or "")
        if found is None or not int(found[1], 16) or not int(found[2], 16):
            return cls(secrets.token_hex(16), secrets.token_hex(8), "00")
        return cls(found[1], secrets.token_hex(8), found[3])

    @property
    def traceparent(self) -> str:
        """The header for the services that are called."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"
