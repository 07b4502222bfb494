"""Saga: forwards step by step, and back again in reverse order, whatever happens in between."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import booleans, floats, integers, sampled_from

from nsqkit.policy.retry import Exponential, RetryPolicy
from nsqkit.policy.saga import LEASE_MARGIN_S, decide, ignores
from nsqkit.policy.saga_terms import (
    Action,
    ActionPlan,
    Begun,
    Claimed,
    Compensate,
    Decision,
    Due,
    Event,
    Failed,
    Kind,
    Progress,
    Refused,
    Resume,
    Start,
    Status,
    StepPlan,
    Stranded,
    Succeeded,
)

TWICE = RetryPolicy(max_attempts=2, backoff=Exponential(base_s=5.0, jitter="none"))
REPLIED = ActionPlan(Kind.REPLIED, 60.0, TWICE)
CALLED = ActionPlan(Kind.CALLED, 30.0, TWICE)
SENT = ActionPlan(Kind.SENT, 60.0, TWICE)
STEPS = (
    StepPlan("reserve", REPLIED, undo=REPLIED),
    StepPlan("check", CALLED),
    StepPlan("charge", CALLED, undo=CALLED),
    StepPlan("confirm", SENT),
)
RESERVE, CHECK, CHARGE, CONFIRM = (Action(step.name) for step in STEPS)
NOT_RESERVE, NOT_CHARGE = Action("reserve", is_undo=True), Action("charge", is_undo=True)
Moment = Event | tuple[float, Event]


def played(*events: Moment, steps: tuple[StepPlan, ...] = STEPS) -> Decision:
    """Return the last decision after some events, each a second after the one before, or at a given time."""
    now_s, decision = 0.0, decide(steps, Progress(), Begun(), now_s=0.0, draw=0.0)
    for each in events:
        now_s, event = each if isinstance(each, tuple) else (now_s + 1.0, each)
        decision = decide(steps, decision.progress, event, now_s=now_s, draw=0.0)
    return decision


def called(action: Action, attempt: int = 1) -> tuple[Event, Event]:
    return Claimed(action, attempt), Succeeded(action, attempt)


TO_CHARGE = (Succeeded(RESERVE), *called(CHECK))


@pytest.mark.parametrize(
    ("events", "status", "starts"),
    [
        pytest.param([], Status.RUNNING, [RESERVE], id="the first step starts at once"),
        pytest.param([Succeeded(RESERVE)], Status.RUNNING, [CHECK], id="each success starts the next step"),
        pytest.param(
            [*TO_CHARGE, *called(CHARGE)], Status.COMPLETED, [CONFIRM], id="a command without reply ends"
        ),
        pytest.param(
            [Refused(RESERVE, "none")], Status.COMPENSATED, [], id="nothing is undone that never was"
        ),
        pytest.param(
            [Succeeded(RESERVE), Claimed(CHECK, 1), Refused(CHECK, "no", 1)],
            Status.COMPENSATING,
            [NOT_RESERVE],
            id="a refusal undoes the steps before",
        ),
        pytest.param(
            [*TO_CHARGE, Claimed(CHARGE, 1), Failed(CHARGE, "lost", 1, retries=False)],
            Status.COMPENSATING,
            [NOT_CHARGE],
            id="a step whose result is unknown is undone too",
        ),
        pytest.param(
            [*TO_CHARGE, Claimed(CHARGE, 1), Failed(CHARGE, "lost", 1, retries=False), *called(NOT_CHARGE)],
            Status.COMPENSATING,
            [NOT_RESERVE],
            id="backwards, past steps with nothing to undo",
        ),
        pytest.param(
            [
                *(*TO_CHARGE, Claimed(CHARGE, 1), Refused(CHARGE, "poor", 1)),
                Succeeded(NOT_RESERVE),
            ],
            Status.COMPENSATED,
            [],
            id="until all is undone",
        ),
        pytest.param([Stranded("v1")], Status.NEEDS_ATTENTION, [], id="a version without steps is set aside"),
        pytest.param([Stranded("v1"), Resume()], Status.RUNNING, [RESERVE], id="and goes on where it was"),
        pytest.param([Stranded("v1"), Compensate("x")], Status.COMPENSATING, [NOT_RESERVE], id="or back"),
        pytest.param([Compensate("by hand")], Status.COMPENSATING, [NOT_RESERVE], id="a person can stop it"),
        pytest.param(
            [*TO_CHARGE, *called(CHARGE), Compensate("returned")],
            Status.COMPENSATING,
            [NOT_CHARGE],
            id="a person can undo a completed one",
        ),
        pytest.param(
            [Compensate("by hand"), Refused(NOT_RESERVE, "sold")],
            Status.NEEDS_ATTENTION,
            [],
            id="a compensation that is refused needs a person",
        ),
        pytest.param(
            [Compensate("by hand"), Refused(NOT_RESERVE, "sold"), Resume()],
            Status.COMPENSATING,
            [NOT_RESERVE],
            id="who lets it be tried again",
        ),
    ],
)
def test_what_follows(events: list[Moment], status: Status, starts: list[Action]) -> None:
    decision = played(*events)
    assert (decision.ignored, decision.progress.status) == ("", status)
    assert [each.action for each in decision.starts] == starts
    assert decision.notes


@pytest.mark.parametrize(
    ("events", "due_s", "starts"),
    [
        pytest.param([], 60.0, [Start(RESERVE, 1)], id="a reply is awaited for the timeout"),
        pytest.param([(60.0, Due())], 65.0, [], id="then there is a delay"),
        pytest.param([(60.0, Due()), (65.0, Due())], 125.0, [Start(RESERVE, 2)], id="and another attempt"),
        pytest.param(
            [(60.0, Due()), (65.0, Due()), (125.0, Due())],
            185.0,
            [Start(NOT_RESERVE, 1)],
            id="until none is left",
        ),
        pytest.param(
            [(60.0, Due()), (61.0, Succeeded(RESERVE))], 91.0, [Start(CHECK, 1)], id="late but welcome"
        ),
        pytest.param(
            [Succeeded(RESERVE), (31.0, Due())], 61.0, [Start(CHECK, 1)], id="a lost call is no attempt"
        ),
        pytest.param(
            [Succeeded(RESERVE), (5.0, Claimed(CHECK, 1))],
            35.0 + LEASE_MARGIN_S,
            [],
            id="a lease from the claim",
        ),
        pytest.param(
            [Succeeded(RESERVE), (5.0, Claimed(CHECK, 1)), (45.0, Due())], 50.0, [], id="a lease that is over"
        ),
        pytest.param(
            [Succeeded(RESERVE), Claimed(CHECK, 1), (5.0, Failed(CHECK, "x", 1))], 10.0, [], id="an error"
        ),
    ],
)
def test_when_something_has_to_happen(events: list[Moment], due_s: float, starts: list[Start]) -> None:
    decision = played(*events)
    assert (decision.ignored, decision.progress.due_s, list(decision.starts)) == ("", due_s, starts)


def test_a_compensation_that_is_never_confirmed_needs_attention() -> None:
    decision = played(Compensate("by hand"), (61.0, Due()), (66.0, Due()), (126.0, Due()))
    assert decision.progress.status is Status.NEEDS_ATTENTION
    assert decision.progress.before is Status.COMPENSATING
    assert decision.progress.reason == "reserve/undo failed: no answer within 60 s"
    assert decision.progress.due_s is None


@pytest.mark.parametrize(
    ("events", "why"),
    [
        pytest.param([Succeeded(RESERVE), Succeeded(RESERVE)], "double", id="a second reply"),
        pytest.param([*TO_CHARGE, *called(CHARGE), Succeeded(CONFIRM)], "double", id="a reply after the end"),
        pytest.param([Succeeded(CHARGE)], "late", id="of a step that has not begun"),
        pytest.param([Compensate("x"), Succeeded(RESERVE)], "late", id="after its compensation began"),
        pytest.param([Refused(RESERVE, "x"), Succeeded(RESERVE)], "late", id="after a refusal"),
        pytest.param([Succeeded(NOT_RESERVE)], "late", id="of a compensation that has not begun"),
        pytest.param(
            [Compensate("x"), Succeeded(NOT_RESERVE), Succeeded(NOT_RESERVE)], "double", id="a second undoing"
        ),
        pytest.param(
            [
                *(*TO_CHARGE, *called(CHARGE), Compensate("x"), *called(NOT_CHARGE)),
                Succeeded(NOT_CHARGE),
            ],
            "double",
            id="a second undoing on the way back",
        ),
        pytest.param([Succeeded(RESERVE), Claimed(CHECK, 2)], "late", id="a call of another attempt"),
        pytest.param(
            [Succeeded(RESERVE), Claimed(CHECK, 1), Claimed(CHECK, 1)], "claimed", id="a call twice"
        ),
        pytest.param(
            [Succeeded(RESERVE), Claimed(CHECK, 1), Failed(CHECK, "x", 1), Claimed(CHECK, 1)],
            "late",
            id="a failed call",
        ),
        pytest.param(
            [Succeeded(RESERVE), Claimed(CHECK, 1), Compensate("x")], "claimed", id="a call is running"
        ),
        pytest.param([(59.0, Due())], "early", id="before its time"),
        pytest.param([*TO_CHARGE, *called(CHARGE), Due()], "final", id="time after the end"),
        pytest.param([Compensate("x"), Compensate("x")], "final", id="it goes back already"),
        pytest.param([Resume()], "final", id="nothing to resume"),
        pytest.param([Refused(RESERVE, "x"), Stranded("v1")], "final", id="an end needs no steps"),
        pytest.param([Stranded("v1"), Stranded("v1")], "final", id="set aside already"),
    ],
)
def test_what_changes_nothing(events: list[Moment], why: str) -> None:
    before, decision = played(*events[:-1]), played(*events)
    assert (decision.ignored, decision.progress, decision.starts) == (why, before.progress, ())


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        pytest.param(
            Succeeded(RESERVE, reply="stock.reserved.v1"), "reserve succeeded by stock.reserved.v1", id="yes"
        ),
        pytest.param(
            Refused(RESERVE, "none", reply="stock.none.v1"),
            "reserve was refused by stock.none.v1: none",
            id="no",
        ),
        pytest.param(Refused(RESERVE, "none"), "reserve was refused: none", id="not by a reply"),
    ],
)
def test_a_note_names_the_reply(answer: Event, note: str) -> None:
    assert played(answer).notes[0] == note


def test_an_answer_can_be_judged_before_it_is_read() -> None:
    progress = played(Succeeded(RESERVE)).progress
    assert (ignores(STEPS, progress, RESERVE), ignores(STEPS, progress, CHECK)) == ("double", "")


class Instances(RuleBasedStateMachine):
    """One instance, with answers in any order: what has or may have an effect is undone, in reverse order."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.progress = Progress()
        self.effects: set[str] = set()  # steps that may have one
        self.undone: list[int] = []
        self.apply(Begun(), Progress())

    def apply(self, event: Event, progress: Progress | None = None, draw: float = 0.0) -> Decision:
        before = progress or self.progress
        decision = decide(STEPS, before, event, now_s=self.now_s, draw=draw)
        self.progress = decision.progress
        if decision.ignored:
            assert (decision.progress, decision.starts) == (before, ())
        for start in decision.starts:
            self.started(start)
        return decision

    def started(self, start: Start) -> None:
        index = next(index for index, step in enumerate(STEPS) if step.name == start.action.step)
        plan = STEPS[index].undo if start.action.is_undo else STEPS[index].action
        assert plan is not None
        assert 1 <= start.attempt <= plan.retry.max_attempts
        if start.action.is_undo:
            assert start.action.step in self.effects
            assert not self.undone or index <= self.undone[-1]
            self.undone.append(index)
        else:
            assert not self.undone
            self.effects.add(start.action.step)

    @rule(
        which=integers(0, 3), is_undo=booleans(), end=sampled_from(["ok", "no", "fail"]), retries=booleans()
    )
    def answered(self, which: int, is_undo: bool, end: str, retries: bool) -> None:  # noqa: FBT001 - drawn
        action = Action(STEPS[which].name, is_undo)
        events: dict[str, Any] = {
            "ok": Succeeded(action),
            "no": Refused(action, "no"),
            "fail": Failed(action, "torn", retries=retries),
        }
        counts = not self.apply(events[end]).ignored
        if counts and ((end == "no" and not is_undo) or (end == "ok" and is_undo)):
            self.effects.discard(action.step)

    @rule(which=integers(0, 3), is_undo=booleans(), attempt=integers(1, 3))
    def claimed(self, which: int, is_undo: bool, attempt: int) -> None:  # noqa: FBT001 - drawn
        self.apply(Claimed(Action(STEPS[which].name, is_undo), attempt))

    @rule(after_s=floats(0, 100), draw=floats(0, 1, exclude_max=True))
    def time_passes(self, after_s: float, draw: float) -> None:
        self.now_s += after_s
        self.apply(Due(), draw=draw)

    @precondition(lambda self: not self.undone)
    @rule()
    def a_person_stops_it(self) -> None:
        self.apply(Compensate("by hand"))

    @rule()
    def no_version_knows_it(self) -> None:
        self.apply(Stranded("version 1"))

    @rule()
    def a_person_resumes_it(self) -> None:
        self.apply(Resume())

    @invariant()
    def nothing_open_is_forgotten(self) -> None:
        is_open = self.progress.status in {Status.RUNNING, Status.COMPENSATING}
        assert (self.progress.due_s is not None) == is_open

    @invariant()
    def the_end_fits_the_effects(self) -> None:
        can_undo = {step.name for step in STEPS if step.undo is not None}
        if self.progress.status is Status.COMPENSATED:
            assert not self.effects & can_undo
        if self.progress.status is Status.COMPLETED:
            assert self.effects == {step.name for step in STEPS}
        assert (self.progress.status is Status.NEEDS_ATTENTION) == (self.progress.before is not None)


TestInstances = Instances.TestCase
TestInstances.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
