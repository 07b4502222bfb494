"""Clock skew: how far this machine's clock is ahead of an nsqd's. It reads no clock."""

import math
from typing import Final

DATE_STEP_S: Final = 1.0
"""The resolution of HTTP's ``Date``, in seconds."""
WARN_S: Final = 2.0
"""A skew is reported from this size on, in seconds; what synchronised clocks differ by is far below."""


def skew_s(date_s: float, *, sent_s: float, received_s: float) -> float:
    """Return how far this machine's clock is ahead of a server's, in seconds; negative if it is behind.

    The true skew is known to one second and the time of the request. The highest possible value is returned,
    so that an age which is corrected by it is never above the true one; but 0 if the clocks may agree.

    Args:
        date_s: The ``Date`` of the server's answer, in seconds since 1970, rounded down.
        sent_s: When the request was sent, by this machine's clock, in seconds since 1970.
        received_s: When the answer was there, by the same clock.

    Raises:
        ValueError: If an argument is not finite.
    """
    if not all(map(math.isfinite, (date_s, sent_s, received_s))):
        raise ValueError(f"date_s={date_s!r} sent_s={sent_s!r} received_s={received_s!r}")
    highest_s = received_s - date_s
    lowest_s = sent_s - date_s - DATE_STEP_S
    return 0.0 if lowest_s <= 0.0 <= highest_s else highest_s


def is_reported(skew_s: float, *, before: bool) -> bool:
    """Return whether a skew is to be reported: from 2 s on, and until the clocks agree again.

    Args:
        skew_s: The skew in seconds.
        before: Whether it was reported before.
    """
    return abs(skew_s) >= WARN_S or (before and skew_s != 0.0)
