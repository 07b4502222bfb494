"""Fleet source: the page of several workers shows them as one, and names the worker where they differ."""

import json
from typing import Any, cast

from nsqkit.admin import HandlerState, IntakeState
from nsqkit.background import Background
from nsqkit.monitor.look import RecentErrors, WorkerShown
from nsqkit.process.child_state import ChildState
from nsqkit.process.fleet import Fleet
from nsqkit.process.fleet_source import FleetSource
from nsqkit.process.requests import NoAnswerError
from tests.unit.runtime.bench import RecordingLog

LABELS = ("orders", "payments", "Charge")
CHARGE = HandlerState("Charge", "orders", "payments", 3, 100, IntakeState.RUNNING)
GATEWAY = RecentErrors("GatewayError", "orders.py:78", 2, 5)
ERROR = {"type": "GatewayError", "place": "orders.py:78", "count": 5, "count_m1": 2, "first": 1, "last": 9}
EXAMPLE = {"at": 9, "message_id": "1"}


class _Child:
    """A worker that answers what a child answers, through JSON."""

    def __init__(self, number: int, *, is_silent: bool = False, sagas: Any = None) -> None:
        self.number = number
        self.child: Any = self
        self._is_silent = is_silent
        self._sagas = sagas

    async def state(self) -> ChildState:
        if self._is_silent:
            return ChildState(faults=("does not answer",), problems=("does not answer",))
        return ChildState(handlers=(CHARGE,))

    async def ask(self, question: str, **arguments: object) -> Any:
        if self._is_silent:
            raise NoAnswerError("does not answer")
        if question == "recent_errors":
            return json.loads(json.dumps([[LABELS, [GATEWAY]]]))
        if question == "sagas":
            return self._sagas
        if question == "timeline":
            return {**arguments, "worker": self.number}
        assert (question, arguments) == ("errors", {"name": "Charge"})
        return [{**ERROR, "examples": [EXAMPLE]}]


def _source(*children: _Child) -> FleetSource:
    return FleetSource(Fleet(cast("Any", list(children)), Background(RecordingLog())))


async def test_a_look_has_the_states_and_errors_of_all_workers() -> None:
    look = await _source(_Child(1), _Child(2)).look()
    assert [(each.name, each.worker) for each in look.states] == [("Charge", 1), ("Charge", 2)]
    assert look.errors == {LABELS: [RecentErrors("GatewayError", "orders.py:78", 4, 10)]}
    assert look.workers == [WorkerShown(1, ""), WorkerShown(2, "")]


async def test_a_worker_that_does_not_answer_is_named_and_hides_no_other() -> None:
    look = await _source(_Child(1), _Child(2, is_silent=True)).look()
    assert [each.worker for each in look.states] == [1]
    assert look.errors == {LABELS: [GATEWAY]}
    assert look.workers == [WorkerShown(1, ""), WorkerShown(2, "does not answer")]


async def test_examples_name_their_worker() -> None:
    (error,) = await _source(_Child(1), _Child(2)).errors("Charge")
    assert error["count"] == 10
    assert [each["worker"] for each in error["examples"]] == [1, 2]


async def test_one_worker_answers_for_the_sagas_of_all() -> None:
    source = _source(_Child(1, is_silent=True), _Child(2, sagas={"attention": 1}), _Child(3))
    assert (await source.look()).sagas == {"attention": 1}
    assert await source.timeline("Ship", "o1") == {"saga": "Ship", "key": "o1", "worker": 2}


async def test_without_a_worker_that_answers_there_are_no_sagas() -> None:
    source = _source(_Child(1, is_silent=True))
    assert (await source.look()).sagas is None
    assert await source.timeline("Ship", "o1") is None
