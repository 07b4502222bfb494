"""Sampling: a share of a stream, with a draw for each item that is taken."""

import math
import random

import pytest

from nsqkit.policy.sampling import left_out


@pytest.mark.parametrize(
    ("ratio", "draw", "count"),
    [
        pytest.param(0.0, 0.5, math.inf, id="no share takes nothing"),
        pytest.param(1.0, 0.999, 0.0, id="the whole takes everything"),
        pytest.param(0.5, 0.0, 0.0, id="the least draw takes the next"),
        pytest.param(0.5, 0.49, 0.0, id="half of the draws take the next"),
        pytest.param(0.5, 0.5, 1.0, id="the others leave out one or more"),
        pytest.param(0.01, 0.5, 68.0, id="a small share leaves out many"),
        pytest.param(1e-12, 0.999999, 13815510556995.0, id="a tiny share does not overflow"),
    ],
)
def test_how_many_are_left_out(ratio: float, draw: float, count: float) -> None:
    assert left_out(ratio, draw=draw) == pytest.approx(count)


def test_the_share_is_as_large_as_asked_for() -> None:
    draws = random.Random(7)
    items = sum(1 + left_out(0.1, draw=draws.random()) for _ in range(10_000))
    assert 10_000 / items == pytest.approx(0.1, rel=0.05)
