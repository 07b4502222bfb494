"""Hops: the spans of records that a route of a bridge has published to NSQ. They change no message."""

from collections.abc import Iterable
from typing import Any

from opentelemetry import trace

from nsqkit.events.codec.envelope import read_envelope
from nsqkit.policy.trace_context import parse_traceparent
from nsqkit.telemetry.traces.tracing import Tracing


class Hops:
    """Makes a span ``send <topic>`` for each sampled record, in the trace that created it.

    Args:
        provider: The tracer provider; by default the global one.
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracing = Tracing.of(provider or trace.get_tracer_provider(), has_parent=True)

    def published(self, topic: str, bodies: Iterable[bytes], began_ns: int) -> None:
        """Make the spans of messages that nsqd has just confirmed; none if traces are off.

        Args:
            topic: The topic.
            bodies: The messages.
            began_ns: When they were published, nanoseconds since 1970 UTC.
        """
        if self._tracing is None:
            return
        for body in bodies:
            envelope = read_envelope(body)
            extensions = {} if envelope is None else envelope.extensions
            creator = parse_traceparent(_text(extensions.get("traceparent")))
            if self._tracing.may_sample(creator):
                self._tracing.hop(topic, creator, _text(extensions.get("tracestate")), began_ns).end()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
