"""Sampling: which items of a stream belong to a random share of it. It draws nothing itself."""

import math


def left_out(ratio: float, *, draw: float) -> float:
    """Return how many items to leave out before the next one of a sample.

    One draw for each item of the sample is enough, where a draw for each item of the stream would cost more.

    Args:
        ratio: Share of the items to take, 0 to 1.
        draw: A uniform number in [0, 1), supplied by the caller.

    Returns:
        A whole number, 0 or more; infinite if no item is taken.

    Source:
        The number of failures before a success has a geometric distribution, here by inversion.
    """
    if ratio <= 0.0:
        return math.inf
    return 0.0 if ratio >= 1.0 else float(math.log1p(-draw) // math.log1p(-ratio))
