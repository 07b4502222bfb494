"""Fleet: every answer is about all workers, and names the one that it is about."""

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from nsqkit.admin import HandlerState, IntakeState
from nsqkit.background import Background
from nsqkit.process.child_state import ChildState
from nsqkit.process.fleet import Fleet
from nsqkit.process.idle import Workload
from nsqkit.process.requests import NoAnswerError
from tests.unit.runtime.bench import RecordingLog
from tests.waiting import turns

if TYPE_CHECKING:
    from nsqkit.process.slot import Slot

RESERVE = HandlerState("Reserve", "orders", "inventory", 3, 100, IntakeState.RUNNING)


class _Child:
    """A child that answers what it is told to answer."""

    def __init__(self, **answers: Any) -> None:
        self.number = 1
        self.subscriptions = [("orders", "inventory")]
        self.asked: list[tuple[str, dict[str, object]]] = []
        self._answers = answers

    async def ask(self, question: str, **arguments: object) -> Any:
        self.asked.append((question, arguments))
        answer = self._answers[question]
        if isinstance(answer, Exception):
            raise answer
        return answer


class _Slot:
    """A place with a child, or without one."""

    def __init__(self, state: ChildState, child: _Child | None = None) -> None:
        self.child = child
        self._state = state

    async def state(self) -> ChildState:
        return self._state


def fleet(*slots: _Slot) -> Fleet:
    return Fleet(cast("list[Slot]", list(slots)), Background(RecordingLog()))


READY = ChildState(handlers=(RESERVE,), held=3)
SILENT = ChildState(faults=("does not answer",), problems=("does not answer",))


@pytest.mark.parametrize(
    ("states", "faults", "problems"),
    [
        pytest.param([READY, READY], (), (), id="all are ready"),
        pytest.param(
            [READY, SILENT],
            ("worker 2: does not answer",),
            ("worker 2: does not answer",),
            id="one does not answer",
        ),
        pytest.param(
            [ChildState(problems=("starting",)), READY],
            (),
            ("worker 1: starting",),
            id="one is restarted, which the parent does by itself",
        ),
    ],
)
async def test_health_names_the_worker(
    states: list[ChildState], faults: tuple[str, ...], problems: tuple[str, ...]
) -> None:
    workers = fleet(*map(_Slot, states))
    assert await workers.faults() == faults
    assert await workers.problems() == problems


async def test_handlers_are_those_of_all_workers_with_their_numbers() -> None:
    shown = await fleet(_Slot(READY), _Slot(READY)).handler_states()
    assert [(each.name, each.worker, each.held) for each in shown] == [("Reserve", 1, 3), ("Reserve", 2, 3)]


class TestPause:
    """A pause is for all workers, also for those that start later."""

    async def test_it_reaches_all_workers(self) -> None:
        children = [_Child(pause=True, resume=True) for _ in range(2)]
        workers = fleet(*(_Slot(READY, child) for child in children))
        assert await workers.pause_handler("Reserve", 5.0)
        assert await workers.resume_handler("Reserve")
        asked = [("pause", {"name": "Reserve", "for_s": 5.0}), ("resume", {"name": "Reserve"})]
        assert [child.asked for child in children] == [asked, asked]

    async def test_an_unknown_handler_is_unknown(self) -> None:
        workers = fleet(_Slot(READY, _Child(pause=False)))
        assert not await workers.pause_handler("Unknown", None)
        new = _Child(pause=True)
        await workers.pause_again(cast("Any", new))
        assert new.asked == []

    async def test_a_worker_that_does_not_answer_keeps_no_other_from_it(self) -> None:
        silent = _Child(pause=NoAnswerError("does not answer"))
        assert await fleet(_Slot(SILENT, silent), _Slot(READY, _Child(pause=True))).pause_handler(
            "Reserve", 1
        )

    @pytest.mark.parametrize(
        ("for_s", "is_told"),
        [
            pytest.param(None, True, id="for good"),
            pytest.param(3600.0, True, id="for an hour"),
            pytest.param(-1.0, False, id="until just now"),
        ],
    )
    async def test_a_new_worker_is_told_while_it_lasts(self, for_s: float | None, is_told: bool) -> None:  # noqa: FBT001
        workers = fleet(_Slot(READY, _Child(pause=True, resume=True)))
        await workers.pause_handler("Reserve", for_s)
        new, later = _Child(pause=True), _Child(pause=True)
        await workers.pause_again(cast("Any", new))
        assert bool(new.asked) is is_told
        if is_told:
            left_s = new.asked[0][1]["for_s"]
            assert left_s is None if for_s is None else 0 < cast("float", left_s) <= for_s
        await workers.resume_handler("Reserve")
        await workers.pause_again(cast("Any", later))
        assert later.asked == []


@pytest.mark.parametrize(
    ("states", "workload"),
    [
        pytest.param(
            [ChildState(handlers=(RESERVE,), held=1, next_requeue_s=9.0), READY],
            Workload(4, 9.0, is_blocked=False),
            id="the messages of all",
        ),
        pytest.param(
            [ChildState(handlers=(RESERVE,), is_blocked=True), READY],
            Workload(3, None, is_blocked=True),
            id="a blocked handler in one",
        ),
        pytest.param([SILENT, READY], None, id="unknown while one does not answer"),
    ],
)
async def test_the_workload_is_that_of_all(states: list[ChildState], workload: Workload | None) -> None:
    assert await fleet(*map(_Slot, states)).workload() == workload


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        pytest.param([_Child(subscribed=True), _Child(subscribed=True)], True, id="all are"),
        pytest.param([_Child(subscribed=True), _Child(subscribed=False)], False, id="one is not yet"),
        pytest.param([_Child(subscribed=NoAnswerError("")), _Child(subscribed=True)], False, id="unknown"),
        pytest.param([_Child(subscribed=True), None], False, id="one is restarted"),
    ],
)
async def test_subscribed_is_every_worker(children: list[_Child | None], expected: bool) -> None:  # noqa: FBT001
    workers = fleet(*(_Slot(READY, child) for child in children))
    assert await workers.subscribed_to("a:4150") is expected


def test_subscriptions_are_each_named_once() -> None:
    workers = fleet(_Slot(READY, _Child()), _Slot(READY, None), _Slot(READY, _Child()))
    assert workers.subscriptions == [("orders", "inventory")]


async def test_a_task_of_the_parent_that_died_is_a_fault_of_the_service() -> None:
    background = Background(RecordingLog())
    workers = Fleet(cast("list[Slot]", [_Slot(READY)]), background)

    async def die() -> None:
        raise ValueError

    await asyncio.wait({background.start(die(), "monitor")})
    await turns()
    assert "'monitor' has died" in (await workers.faults())[0]


async def test_whether_an_operator_has_paused_a_handler() -> None:
    workers = fleet(_Slot(READY, _Child(pause=True, resume=True)))
    assert not workers.is_paused("Reserve")
    await workers.pause_handler("Reserve", None)
    assert workers.is_paused("Reserve")
    await workers.resume_handler("Reserve")
    assert not workers.is_paused("Reserve")
