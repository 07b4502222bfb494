"""Requeue level: how bad a handler's share of failed deliveries is. It gives no reason for it."""

from enum import StrEnum
from typing import Final, NamedTuple

FAILING_RATIO: Final = 0.1
"""Share of failed deliveries from which a handler is failing, over one minute."""
MIN_DELIVERIES: Final = 50
"""Deliveries in one minute below which a share decides nothing."""
_BASELINE_FACTOR: Final = 3.0
_BASELINE_MARGIN: Final = 0.02
_WATCH_SHARE: Final = 0.5


class Level(StrEnum):
    """The state of a handler, or of a worker, the worst first."""

    BAD = "bad"
    HELD = "held"
    WARN = "warn"
    OK = "ok"
    UNKNOWN = "unknown"


class Share(NamedTuple):
    """Failed deliveries among those that arrived in the same time.

    Args:
        failed: Deliveries that were requeued after an error or a timeout.
        received: Deliveries that arrived.
    """

    failed: int
    received: int

    @property
    def ratio(self) -> float | None:
        """Failed by received, in [0, 1]; None without deliveries.

        Deliveries may arrive in one window and fail in the next, so the quotient is cut at 1.
        """
        return min(1.0, self.failed / self.received) if self.received else None


def threshold(baseline: float | None) -> float:
    """Return the share of failed deliveries from which a handler is failing.

    Args:
        baseline: The handler's own share in the time before, in [0, 1]; None if it is not known.
    """
    if baseline is None:
        return FAILING_RATIO
    return min(FAILING_RATIO, max(_BASELINE_FACTOR * baseline, baseline + _BASELINE_MARGIN))


def level_of(minute: Share, baseline: float | None, *, is_paused: bool = False) -> Level:
    """Return the level of one handler.

    Args:
        minute: Deliveries of the last minute.
        baseline: The handler's own share in the time before; None if it is not known.
        is_paused: Whether its intake is paused, for whatever reason.
    """
    ratio = minute.ratio
    is_known = ratio is not None and minute.received >= MIN_DELIVERIES
    if is_known and ratio is not None and ratio >= threshold(baseline):
        return Level.BAD
    if is_paused:
        return Level.HELD
    if ratio is None:
        return Level.UNKNOWN
    return Level.WARN if is_known and ratio >= _WATCH_SHARE * threshold(baseline) else Level.OK
