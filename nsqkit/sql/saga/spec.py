"""Spec: the checked declaration of one version of a saga; it contains no state."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from nsqkit.events.codec.defaults import completer
from nsqkit.events.codec.formats import encode_json
from nsqkit.events.codec.models import kind_of
from nsqkit.events.shape import PLAIN
from nsqkit.policy.saga_terms import Action, StepPlan
from nsqkit.sql.saga.steps import Call, Send, Step

if TYPE_CHECKING:
    from nsqkit.sql.database import Database


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reply event means.

    Args:
        action: The action that it answers.
        function: Returns the new state, or ``Refused``.
    """

    action: Action
    function: Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False)
class SagaSpec:
    """The checked declaration of one version of a saga.

    Args:
        name: Name of the saga, the same for all versions.
        version: Version of the steps; 1 or more.
        channel: Channel of its handlers.
        topic: Topic on which its instances are started, woken and called.
        database: Where its instances are.
        state: Class of their state.
        start: Class of the events that start them.
        steps: The steps, in order.
        replies: What each reply event means.
        plan: The rules of the steps.
        location: ``file:line`` of the class statement.
    """

    name: str
    version: int
    channel: str
    topic: str
    database: "Database"
    state: type[Any]
    start: type[Any]
    steps: tuple[Step, ...]
    replies: Mapping[type[Any], Reply]
    plan: tuple[StepPlan, ...]
    location: str

    def action(self, action: Action) -> Send | Call | None:
        """Return what an action does; None if this version has no such action."""
        found = next((step for step in self.steps if step.name == action.step), None)
        if found is None:
            return None
        return found.undo if action.is_undo else found.action

    def read_state(self, text: str) -> Any:
        """Return the state in a row."""
        return kind_of(self.state).reader(self.state, PLAIN)(text.encode())

    def write_state(self, state: Any) -> str:
        """Return what a row keeps of a state: all of its fields, also those that it has by default.

        Raises:
            TypeError: If it is no instance of the saga's state.
            EncodeError: If it cannot be written as JSON.
            Exception: If it could not be read back.
        """
        if not isinstance(state, self.state):
            wanted = f"return {self.state.__name__}, Refused or None"
            raise TypeError(f"saga {self.name}: got {state!r:.100} as its state; {wanted}")
        text = encode_json(_writer(self.state)(state)).decode()  # type: ignore[arg-type] # a class is hashable
        self.read_state(text)  # now, when its writer can be named, and not at every later event
        return text


@cache
def _writer(state: type[Any]) -> Callable[[Any], Any]:
    write, complete = kind_of(state).writer(state, PLAIN), completer(state)
    return write if complete is None else lambda value: write(complete(value))


def actions_of(steps: Sequence[Step]) -> list[tuple[Action, Send | Call]]:
    """Return all actions and compensations of some steps, in order."""
    found: list[tuple[Action, Send | Call]] = []
    for step in steps:
        found.append((Action(step.name), step.action))
        if step.undo is not None:
            found.append((Action(step.name, is_undo=True), step.undo))
    return found
