"""Marks: which changes have one, which have none, and how many there are."""

import pytest

from nsqkit.admin import IntakeState
from nsqkit.monitor.marks import MOST_CHARACTERS, MOST_MARKS, Mark, MarkKind, Marks
from nsqkit.monitor.ring import SECONDS
from nsqkit.telemetry.metrics import HandlerCounts

IDLE = HandlerCounts(
    ("orders", "payments", "Charge"), 0, 0, 0, 0, 0, (), (), is_paused=False, is_switched_off=False
)
PAUSED = IDLE._replace(is_paused=True)
SWITCHED_OFF = PAUSED._replace(is_switched_off=True)


def _found(marks: Marks) -> list[tuple[int, str, str]]:
    return [(mark.second, str(mark.kind), mark.text) for mark in marks.since(0)]


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        pytest.param(IntakeState.PAUSED, "Charge is paused", id="by an operator"),
        pytest.param(
            IntakeState.BLOCKED, "Charge is blocked until a person corrects the cause", id="blocked"
        ),
        pytest.param(None, "Charge is paused", id="for a reason that only another process knows"),
    ],
)
def test_a_pause_and_its_end_have_a_mark(reason: IntakeState | None, text: str) -> None:
    marks = Marks(lambda _: reason)
    marks.take_handler(1, IDLE, PAUSED)
    marks.take_handler(12, PAUSED, IDLE)
    assert _found(marks) == [(1, "pause", text), (12, "resume", "Charge takes in messages again")]


def test_a_kill_switch_has_a_mark_when_it_opens_and_closes_and_none_for_its_trials() -> None:
    marks = Marks(lambda _: IntakeState.KILL_SWITCH_OPEN)
    marks.take_handler(1, IDLE, SWITCHED_OFF)
    trial = SWITCHED_OFF._replace(is_paused=False)
    marks.take_handler(31, SWITCHED_OFF, trial)
    marks.take_handler(32, trial, SWITCHED_OFF)
    marks.take_handler(62, SWITCHED_OFF, IDLE)
    assert _found(marks) == [
        (1, "kill_switch", "the kill switch of Charge has opened"),
        (62, "kill_switch", "the kill switch of Charge has closed"),
    ]


@pytest.mark.parametrize("reason", [IntakeState.BREAKER_OPEN, None])
def test_a_breaker_has_one_too_and_the_handlers_that_it_pauses_have_none(reason: IntakeState | None) -> None:
    marks = Marks(lambda _: reason)
    marks.take_breakers(1, frozenset({"gateway"}))
    marks.take_handler(1, IDLE, PAUSED)
    marks.take_handler(31, PAUSED, IDLE)
    marks.take_breakers(40, frozenset({"gateway"}))
    marks.take_breakers(50, frozenset())
    assert _found(marks) == [
        (1, "breaker", "the breaker of gateway has opened"),
        (50, "breaker", "the breaker of gateway has closed"),
    ]


def test_an_operators_pause_while_a_breaker_is_open_has_a_mark() -> None:
    marks = Marks(lambda _: IntakeState.PAUSED)
    marks.take_breakers(1, frozenset({"gateway"}))
    marks.take_handler(2, IDLE, PAUSED)
    assert _found(marks)[-1] == (2, "pause", "Charge is paused")


def test_marks_of_one_kind_and_step_are_one_with_a_bounded_text() -> None:
    marks = Marks(lambda _: None)
    for number in range(100):
        marks.add(Mark(3, MarkKind.DEPLOY, f"worker {number} was replaced"))
    marks.add(Mark(3, MarkKind.ENDED, "worker 1 ended"))
    marks.add(Mark(13, MarkKind.ENDED, "worker 2 ended"))
    (deploy, *ended) = marks.since(0)
    assert deploy.text.startswith("worker 0 was replaced; worker 1 was replaced; ")
    assert len(deploy.text) == MOST_CHARACTERS
    assert [mark.text for mark in ended] == ["worker 1 ended", "worker 2 ended"]


def test_marks_are_few_and_of_the_last_15_minutes() -> None:
    marks = Marks(lambda _: None)
    for second in range(3 * MOST_MARKS):
        marks.take_handler(second, *((IDLE, PAUSED) if second % 2 else (PAUSED, IDLE)))
    assert len(marks.since(0)) <= MOST_MARKS + 1
    marks.add(Mark(10 * SECONDS, MarkKind.DEPLOY, "worker 1 was replaced"))
    assert len(marks.since(0)) == 1


def test_the_last_change_is_a_start_or_a_deploy() -> None:
    marks = Marks(lambda _: None)
    assert marks.last_change() is None
    marks.add(Mark(1, MarkKind.START, "worker started"))
    marks.add(Mark(2, MarkKind.ENDED, "worker 1 ended"))
    assert marks.last_change() == 1
