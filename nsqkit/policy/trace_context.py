"""Trace context: reads and writes the W3C ``traceparent`` of an event."""

import re
from dataclasses import dataclass

# Later versions may append fields after a dash; version ff is invalid.
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_LONGEST = 512
_SAMPLED = 0x01
_NOT_IN_FLOAT = 11
"""Bits of 64 that a float cannot take: rounding up would return 1."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The identity of one span, as ``traceparent`` carries it.

    Args:
        trace_id: Id of the trace, above 0, of 128 bits.
        span_id: Id of the span, above 0, of 64 bits.
        flags: Flags of 8 bits; the lowest one says that the span is sampled.
    """

    trace_id: int
    span_id: int
    flags: int

    @property
    def is_sampled(self) -> bool:
        """Whether the span is recorded."""
        return bool(self.flags & _SAMPLED)

    @property
    def fraction(self) -> float:
        """The place of the trace among all traces, in [0, 1), by the 64 lowest bits of its id.

        A sampler with a ratio samples the traces below the ratio, so all services decide alike.
        """
        return ((self.trace_id & (1 << 64) - 1) >> _NOT_IN_FLOAT) / (1 << 64 - _NOT_IN_FLOAT)

    def unsampled(self) -> "TraceContext":
        """Return the context that says that the span is not recorded."""
        return TraceContext(self.trace_id, self.span_id, self.flags & ~_SAMPLED)

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.flags:02x}"


def parse_traceparent(text: str | None) -> TraceContext | None:
    """Return the context in a ``traceparent``; None without one, or for a text that is not valid.

    Source:
        W3C Trace Context, level 1, section 3.2.
    """
    if not text or len(text) > _LONGEST or (found := _FORM.fullmatch(text)) is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    context = TraceContext(int(trace_id, 16), int(span_id, 16), int(flags, 16))
    is_valid = version != "ff" and not (version == "00" and more) and context.trace_id and context.span_id
    return context if is_valid else None
