"""Lease: until when a delivery is ours, and when to ask nsqd for more time.

nsqd delivers a message again once its message timeout is over, counted from the delivery or the last TOUCH,
and at its max-msg-timeout after the delivery at the latest, whatever was touched. All times are on one
monotonic clock, in seconds.
"""

import math

MARGIN_S = 1.0
"""So long before nsqd's time is over a delivery counts as lost: a later FIN could meet the next delivery."""
_MARGIN_RATIO = 0.25


def margin_s(lease_s: float) -> float:
    """Return how much of a lease is left unused: a second, or a quarter of a lease under 4 s."""
    return min(MARGIN_S, lease_s * _MARGIN_RATIO)


def longest_hold_s(lease_s: float, max_lease_s: float) -> float:
    """Return for how long a delivery can be held, however often it is touched."""
    return max(lease_s, max_lease_s) - margin_s(lease_s)


def cap_s(received_s: float, *, lease_s: float, max_lease_s: float) -> float:
    """Return when a delivery is lost however often it is touched."""
    return received_s + longest_hold_s(lease_s, max_lease_s)


def ends_s(received_s: float, touched_s: float, *, lease_s: float, max_lease_s: float) -> float:
    """Return when a delivery is lost if it is not touched again.

    Args:
        received_s: When it arrived.
        touched_s: When it was last touched, or when it arrived.
        lease_s: nsqd's message timeout on its connection.
        max_lease_s: nsqd's max-msg-timeout.
    """
    unless_touched_s = touched_s + lease_s - margin_s(lease_s)
    return min(unless_touched_s, cap_s(received_s, lease_s=lease_s, max_lease_s=max_lease_s))


def touch_s(
    received_s: float, touched_s: float, *, lease_s: float, max_lease_s: float, keep_until_s: float
) -> float:
    """Return when to touch a delivery next: at half of its lease, while that helps; infinite for never.

    Args:
        received_s: When it arrived.
        touched_s: When it was last touched, or when it arrived.
        lease_s: nsqd's message timeout on its connection.
        max_lease_s: nsqd's max-msg-timeout.
        keep_until_s: Until when it is wanted.
    """
    due_s = touched_s + lease_s / 2
    is_capped = touched_s + lease_s >= received_s + max(lease_s, max_lease_s)
    return math.inf if is_capped or due_s >= keep_until_s else due_s
