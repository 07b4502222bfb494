"""Change point: since when a share of failed deliveries has stayed high. It knows no clock."""

from collections.abc import Sequence
from typing import Final

from nsqkit.policy.requeue_level import Share

_MOST_DIPS: Final = 1


def change_point(shares: Sequence[Share], threshold: float) -> int | None:
    """Return the index of the first share from which on all of them reach a threshold.

    Shares without deliveries decide nothing. One share below the threshold between two that reach it is taken
    for noise.

    Args:
        shares: The share of each step of time, the oldest first.
        threshold: In (0, 1].

    Returns:
        The index; None if the last share with deliveries is below the threshold, or there is none.
    """
    found, dips = None, 0
    for index in range(len(shares) - 1, -1, -1):
        ratio = shares[index].ratio
        if ratio is None:
            continue
        if ratio >= threshold:
            found, dips = index, 0
        elif found is None or (dips := dips + 1) > _MOST_DIPS:
            break
    return found
