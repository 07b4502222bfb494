"""Failures: groups by type and line, bounded and redacted, with a cost that does not follow their rate."""

import pytest

from nsqkit.monitor import failures
from nsqkit.monitor.failures import MOST_EXAMPLES, MOST_GROUPS, Failures, Group
from nsqkit.policy.verdict import OutcomeLabel, RequeueReason, Verdict
from tests.unit.runtime.bench import FakeMessage, delivery

REQUEUE = Verdict(OutcomeLabel.REQUEUE, RequeueReason.ERROR, 0.2)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(clock: Clock) -> Failures:
    return Failures(clock)


def _raised(error: BaseException) -> BaseException:
    try:
        raise error  # noqa: TRY301 - for its traceback
    except BaseException as raised:  # noqa: BLE001 - it is returned
        return raised


def _raised_elsewhere(error: BaseException) -> BaseException:
    try:
        raise error  # noqa: TRY301 - for its traceback
    except BaseException as raised:  # noqa: BLE001 - it is returned
        return raised


def _add(kept: Failures, error: BaseException, verdict: Verdict | None = REQUEUE) -> None:
    kept.add(delivery(FakeMessage()), verdict, error)


def _only(kept: Failures) -> Group:
    (group,) = kept.groups
    return group


def test_errors_of_one_type_and_line_are_one_group(kept: Failures) -> None:
    for number in range(3):
        _add(kept, _raised(ValueError(f"no. {number}")))
    group = _only(kept)
    assert group.count(1000, 60) == 3
    assert group.error_type == "ValueError"
    assert group.place.startswith("monitor/test_failures.py:")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(_raised(KeyError("other")), id="another type"),
        pytest.param(_raised_elsewhere(ValueError("other")), id="another line"),
    ],
)
def test_others_are_another_group(kept: Failures, other: BaseException) -> None:
    _add(kept, _raised(ValueError("one")))
    _add(kept, other)
    assert len(kept.groups) == 2


def test_an_error_without_a_traceback_has_no_line(kept: Failures) -> None:
    _add(kept, TimeoutError("late"))
    assert _only(kept).place == ""


def test_an_example_has_what_a_person_needs_and_no_secret(kept: Failures) -> None:
    _add(kept, _raised(ValueError("card 4111111111111111 declined")))
    example = _only(kept).examples[-1]
    assert example.text == "ValueError: card [redacted] declined"
    assert "4111111111111111" not in example.stack
    assert "raise error" in example.stack
    assert example.outcome == "requeue in 0.2s, try 1/5"
    assert example.message_id == FakeMessage().id.decode()


def test_a_kept_message_is_an_example_too(kept: Failures) -> None:
    _add(kept, _raised(ValueError("away")), None)
    assert _only(kept).examples[-1].outcome == "kept, to be handled again"


def test_examples_are_made_at_most_once_a_second(
    kept: Failures, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[BaseException | None] = []

    def stack_of(error: BaseException | None) -> str:
        made.append(error)
        return ""

    monkeypatch.setattr(failures, "stack_of", stack_of)
    for _ in range(50):
        _add(kept, _raised(ValueError("again")))
    assert len(made) == 1
    for _ in range(2 * MOST_EXAMPLES):
        clock.now_s += 1.0
        _add(kept, _raised(ValueError("again")))
    assert len(_only(kept).examples) == MOST_EXAMPLES


def test_counts_are_of_the_last_seconds_and_forgotten_after_15_minutes(kept: Failures, clock: Clock) -> None:
    error = _raised(ValueError("again"))
    for _ in range(100):
        _add(kept, error)
        clock.now_s += 10.0
    group = _only(kept)
    assert group.count(int(clock.now_s) - 1, 60) == 6
    assert len(group.steps) == 90


def test_groups_are_few_and_the_one_not_seen_for_longest_goes_first(kept: Failures, clock: Clock) -> None:
    kinds = [type(f"Error{number}", (Exception,), {}) for number in range(MOST_GROUPS + 1)]
    for kind in kinds:
        _add(kept, _raised(kind()))
        clock.now_s += 1.0
    names = {group.error_type for group in kept.groups}
    assert len(names) == MOST_GROUPS
    assert "Error0" not in names
    _add(kept, _raised(kinds[0]()))
    assert {"Error0"} < {group.error_type for group in kept.groups}


def test_ways_to_a_line_are_not_remembered_without_end(
    kept: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "_MOST_KEYS", 2)

    def deep(depth: int) -> BaseException:
        return _raised(ValueError("deep")) if not depth else deep(depth - 1)

    def way(depth: int) -> BaseException:
        if depth:
            try:
                raise way(depth - 1)
            except ValueError as error:
                return error
        return _raised(ValueError("deep"))

    for depth in range(6):
        _add(kept, way(depth))
    assert _only(kept).count(1000, 60) == 6
