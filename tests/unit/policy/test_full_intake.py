"""Full intake: a handler is saturated at its limit in flight, but only while its backlog grows."""

import pytest

from nsqkit.policy.full_intake import Intake
from nsqkit.policy.saturation import Saturation

FULL, FREE = 5, 4
MOST_OF_10 = (
    "5 of 5 in flight, at its limit for most of the last 10 s, while 4,200 messages wait in nsqd and "
)


def _looks(*looks: tuple[int, int | None], every_s: int = 1) -> Intake:
    """Return the intake after looks at messages in flight and depth."""
    intake = Intake()
    for number, (in_flight, depth) in enumerate(looks):
        intake = intake.looked(number * every_s, in_flight=in_flight, max_in_flight=5, depth=depth)
    return intake


@pytest.mark.parametrize(
    ("looks", "is_age_growing", "expected"),
    [
        pytest.param([], True, None, id="no look"),
        pytest.param([(FULL, 10)] * 9, True, None, id="too few looks"),
        pytest.param(
            [(FULL, 10)] * 9 + [(FULL, 4200)], False, MOST_OF_10 + "the depth grows", id="depth grows"
        ),
        pytest.param([(FULL, 4200)] * 10, True, MOST_OF_10 + "the oldest age grows", id="age grows"),
        pytest.param([(FULL, 4200)] * 10, False, None, id="nothing is known to grow"),
        pytest.param([(FULL, 4200)] * 9 + [(FULL, 10)], False, None, id="it catches up"),
        pytest.param([(FULL, 0)] * 10, True, None, id="no message waits"),
        pytest.param([(FULL, None)] * 10, True, None, id="the depth is not known"),
        pytest.param([(FREE, 4200), (FULL, 4200)] * 5, True, None, id="full at half of the looks"),
        pytest.param(
            [(FREE, 1)] * 4 + [(FULL, 1)] * 6,
            True,
            "5 of 5 in flight, at its limit for most of the last 10 s, while 1 message waits in nsqd "
            "and the oldest age grows",
            id="full at most looks",
        ),
        pytest.param([(FULL, 4200)] * 10 + [(FREE, 4200)] * 5, True, None, id="free again"),
    ],
)
def test_saturation(
    looks: list[tuple[int, int | None]],
    is_age_growing: bool,  # noqa: FBT001 - a column of the table
    expected: str | None,
) -> None:
    found = _looks(*looks).saturation("Charge", is_age_growing=is_age_growing)
    assert found == (None if expected is None else Saturation(expected, 10, "Charge"))


def test_it_lasts_from_the_first_of_ten_full_looks() -> None:
    found = _looks(*[(FULL, 4200)] * 40).saturation("Charge", is_age_growing=True)
    assert found is not None
    assert found.for_s == 40


def test_a_depth_counts_as_growing_until_nsqd_is_asked_again() -> None:
    looks = [(FULL, 10)] * 10 + [(FULL, 4200)] * 30
    assert _looks(*looks).saturation("Charge", is_age_growing=False) is not None
    assert _looks(*looks, (FULL, 4100)).saturation("Charge", is_age_growing=False) is None


def test_after_a_gap_nothing_is_known() -> None:
    assert _looks(*[(FULL, 4200)] * 20, every_s=31).saturation("Charge", is_age_growing=True) is None


def test_a_handler_without_slots_is_not_full() -> None:
    intake = Intake()
    for second in range(20):
        intake = intake.looked(second, in_flight=0, max_in_flight=0, depth=9)
    assert intake.saturation("Charge", is_age_growing=True) is None
