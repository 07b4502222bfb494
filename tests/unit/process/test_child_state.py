"""Child state: it arrives as it was sent, through JSON."""

import json

import pytest

from nsqkit.admin import HandlerState, IntakeState
from nsqkit.process.child_state import ChildState

HANDLER = HandlerState(
    *("Reserve", "orders", "inventory", 3, 100, IntakeState.KILL_SWITCH_OPEN),
    remaining_s=1.5,
    problems=("not connected",),
    paused_in_nsqd=("h:4151 orders",),
)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(ChildState(), id="nothing to say"),
        pytest.param(
            ChildState(
                faults=("a",),
                problems=("b", "c"),
                handlers=(HANDLER, HANDLER),
                held=7,
                next_requeue_s=0.5,
                is_blocked=True,
            ),
            id="everything",
        ),
    ],
)
def test_it_arrives_as_it_was_sent(state: ChildState) -> None:
    assert ChildState.read(json.loads(json.dumps(state.values()))) == state


def test_other_values_are_an_error() -> None:
    with pytest.raises(ValueError, match="handlers"):
        ChildState.read({"handlers": [{"name": 3}]})
