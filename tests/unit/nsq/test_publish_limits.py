"""What an nsqd accepts: its defaults, until its answers show otherwise."""

import pytest

from nsqkit.nsq.publish_limits import PublishLimits, Size, mpub_bytes

MIB = 1 << 20


@pytest.mark.parametrize(
    ("size", "is_doubtful"),
    [
        (Size(MIB), False),
        (Size(MIB + 1), True),
        (Size(1, 5 * MIB), False),
        (Size(1, 5 * MIB + 1), True),
        (Size(1, delay_ms=3_600_000), False),
        (Size(1, delay_ms=3_600_001), True),
    ],
)
def test_what_exceeds_a_default_of_nsqd_is_doubtful(size: Size, *, is_doubtful: bool) -> None:
    limits = PublishLimits()
    assert limits.is_doubtful(size) is is_doubtful
    assert limits.problem(size) is None


@pytest.mark.parametrize(
    ("size", "description", "option", "unit"),
    [
        (Size(200), "PUB message too big 200 > 100", "--max-msg-size", "bytes"),
        (Size(200), "DPUB message too big 200 > 100", "--max-msg-size", "bytes"),
        (Size(200, 500), "MPUB message too big 200 > 100", "--max-msg-size", "bytes"),
        (Size(1, 200), "MPUB body too big 200 > 100", "--max-body-size", "bytes"),
        (Size(1, delay_ms=200), "DPUB timeout 200 out of range 0-100", "--max-req-timeout", "ms"),
    ],
)
def test_a_refusal_reports_a_limit(size: Size, description: str, option: str, unit: str) -> None:
    limits = PublishLimits()
    assert limits.refuse(size, description) == option
    assert limits.is_doubtful(size)
    assert f"200 {unit}, and nsqd accepts 100 (its {option})" in str(limits.problem(size))
    at_limit = Size(*(min(value, 100) for value in size))
    assert not limits.is_doubtful(at_limit)
    assert limits.problem(at_limit) is None


@pytest.mark.parametrize(
    "description",
    [
        pytest.param('PUB topic name "a b" is not valid', id="another reason"),
        pytest.param("PUB message too big 200 > 0", id="a limit that accepts nothing"),
        pytest.param("PUB message too big 200 > 300", id="a limit above the size"),
    ],
)
def test_a_refusal_that_says_no_limit_changes_nothing(description: str) -> None:
    limits = PublishLimits()
    assert limits.refuse(Size(200), description) is None
    assert not limits.is_doubtful(Size(200))
    assert limits.problem(Size(200)) is None


def test_an_nsqd_that_defers_no_publish_reports_a_limit_of_0() -> None:
    limits = PublishLimits()
    deferred = Size(1, delay_ms=1000)
    assert limits.refuse(deferred, "DPUB timeout 1000 out of range 0-0") == "--max-req-timeout"
    assert limits.problem(deferred) is not None
    assert limits.problem(Size(1)) is None


def test_what_nsqd_accepts_is_not_doubtful_any_more_whatever_it_reported_before() -> None:
    limits = PublishLimits()
    limits.refuse(Size(3 * MIB), f"PUB message too big {3 * MIB} > {2 * MIB}")
    limits.accept(Size(3 * MIB))
    assert not limits.is_doubtful(Size(3 * MIB))
    assert limits.problem(Size(4 * MIB)) is None


def test_a_forgotten_limit_makes_a_command_doubtful_not_impossible() -> None:
    limits = PublishLimits()
    limits.refuse(Size(200), "PUB message too big 200 > 100")
    limits.forget_reported()
    assert limits.problem(Size(200)) is None
    assert limits.is_doubtful(Size(200))


@pytest.mark.parametrize(
    ("max_body_bytes", "ends"),
    [
        pytest.param(1000, [3], id="all fit"),
        pytest.param(mpub_bytes([b"x" * 10] * 3), [3], id="all just fit"),
        pytest.param(mpub_bytes([b"x" * 10] * 3) - 1, [2, 3], id="one byte less"),
        pytest.param(5, [1, 2, 3], id="none fits, and each goes by itself"),
    ],
)
def test_bodies_are_split_where_a_command_would_be_too_large(max_body_bytes: int, ends: list[int]) -> None:
    limits = PublishLimits()
    limits.refuse(Size(1, 2000), f"MPUB body too big 2000 > {max_body_bytes}")
    bodies = [b"x" * 10] * 3
    found = [0]
    while found[-1] < len(bodies):
        found.append(limits.fitting(bodies, found[-1]))
    assert found[1:] == ends
