"""Leases: when a delivery expires, and when to extend it with TOUCH.

nsqd delivers a message again when its message timeout has passed since the delivery or the last TOUCH, and
when max-msg-timeout has passed since the delivery, in spite of TOUCH. All times are seconds of one monotonic
clock.
"""

import math

MARGIN_S = 1.0
"""A delivery counts as lost this long before nsqd's deadline: a later FIN could hit the next delivery."""
_MARGIN_RATIO = 0.25


def margin_s(lease_s: float) -> float:
    """Return the unused end of a lease in seconds: 1, or a quarter of a lease under 4 s."""
    return min(MARGIN_S, lease_s * _MARGIN_RATIO)


def longest_hold_s(lease_s: float, max_lease_s: float) -> float:
    """Return the longest time to hold a delivery with TOUCH, in seconds."""
    return max(lease_s, max_lease_s) - margin_s(lease_s)


def cap_s(received_s: float, *, lease_s: float, max_lease_s: float) -> float:
    """Return when a delivery is lost in spite of TOUCH."""
    return received_s + longest_hold_s(lease_s, max_lease_s)


def ends_s(received_s: float, touched_s: float, *, lease_s: float, max_lease_s: float) -> float:
    """Return when a delivery is lost unless it is touched again.

    Args:
        received_s: Time of arrival.
        touched_s: Time of the last TOUCH; the time of arrival before the first.
        lease_s: Message timeout of the connection, in seconds.
        max_lease_s: nsqd's max-msg-timeout, in seconds.
    """
    unless_touched_s = touched_s + lease_s - margin_s(lease_s)
    return min(unless_touched_s, cap_s(received_s, lease_s=lease_s, max_lease_s=max_lease_s))


def touch_s(
    received_s: float, touched_s: float, *, lease_s: float, max_lease_s: float, keep_until_s: float
) -> float:
    """Return when to touch a delivery next: after half of its lease.

    Args:
        received_s: Time of arrival.
        touched_s: Time of the last TOUCH; the time of arrival before the first.
        lease_s: Message timeout of the connection, in seconds.
        max_lease_s: nsqd's max-msg-timeout, in seconds.
        keep_until_s: Time at which the worker gives the delivery up.

    Returns:
        A time of the same clock; infinite if another TOUCH would not extend the lease or is not needed.
    """
    due_s = touched_s + lease_s / 2
    is_capped = touched_s + lease_s >= received_s + max(lease_s, max_lease_s)
    return math.inf if is_capped or due_s >= keep_until_s else due_s
