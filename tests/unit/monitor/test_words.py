"""Words: figures as a person reads them, as on the page."""

from collections.abc import Callable
from typing import Any

import pytest

from nsqkit.monitor.words import age, clock, count, duration, percent, rate


@pytest.mark.parametrize(
    ("word", "value", "text"),
    [
        (percent, None, "–"),
        (percent, 0.0, "0.0 %"),
        (percent, 0.3125, "31.2 %"),
        (rate, 0.25, "0.2 /s"),
        (rate, 122.4, "122 /s"),
        (count, None, "–"),
        (count, 12345, "12,345"),
        (duration, 0.0001, "1 ms"),
        (duration, 0.25, "250 ms"),
        (duration, 8.25, "8.2 s"),
        (duration, 600, "10 min"),
        (duration, 10_000, "3 h"),
        (duration, 200_000, "2 d"),
        (age, None, "–"),
        (age, -1, "> 1 d"),
        (age, 5, "≤ 5 s"),
        (clock, 1_795_960_800, "14:00:00"),
    ],
)
def test_words(word: Callable[[Any], str], value: float | None, text: str) -> None:
    assert word(value) == text
