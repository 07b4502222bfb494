"""Flush: exports the spans that wait for it, within bounded time."""

import asyncio
import threading
from contextlib import suppress

from opentelemetry import trace

from nsqkit.telemetry import logs

FLUSH_S = 5.0
"""Longest time in seconds that a worker waits for the export of its last spans."""


async def flush(provider: trace.TracerProvider, timeout_s: float = FLUSH_S) -> None:
    """Export the spans that wait for it; log a warning if that takes too long.

    The export may block for longer than it promises, so a daemon thread does it. It may be left behind.

    Args:
        provider: The provider of the spans.
        timeout_s: Maximum time in seconds, above 0.
    """
    force_flush = getattr(provider, "force_flush", None)
    if force_flush is None:  # it is in no interface of OpenTelemetry's
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def export() -> None:
        try:
            force_flush(round(timeout_s * 1000))
        finally:
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=export, name="nsqkit-traces", daemon=True).start()
    try:
        await asyncio.wait_for(ended.wait(), timeout_s)
    except TimeoutError:
        hint = "is the receiver at OTEL_EXPORTER_OTLP_ENDPOINT reachable? Its last spans are lost"
        logs.get_logger().warning("traces_not_flushed", timeout_s=timeout_s, hint=hint)
