"""Hops: the spans of a route to NSQ, if the program uses OpenTelemetry. Nothing of it is loaded otherwise."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nsqkit.telemetry.traces.hops import Hops


def hops() -> "Hops | None":
    """Return what makes spans of published records; None if the program has not loaded OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    try:
        from nsqkit.telemetry.traces.hops import Hops  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return Hops()
