"""Saga terms: an action has one name, which is also its idempotency key within an instance."""

import pytest

from nsqkit.policy.saga_terms import Action, Progress, Status


@pytest.mark.parametrize(
    ("action", "name"),
    [
        pytest.param(Action("reserve"), "reserve", id="the action of a step"),
        pytest.param(Action("reserve", is_undo=True), "reserve/undo", id="its compensation"),
    ],
)
def test_an_action_has_a_name(action: Action, name: str) -> None:
    assert str(action) == name


def test_a_new_instance_is_before_its_first_step() -> None:
    assert Progress() == Progress(Status.RUNNING, position=0, attempts=0, due_s=None)
