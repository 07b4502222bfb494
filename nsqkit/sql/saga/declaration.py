"""Declaration: find the mistakes in the class statement of a saga; it changes no class."""

import inspect
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from nsqkit.events.types import REGISTRY, EventType
from nsqkit.policy.names import channel_problem, topic_problem
from nsqkit.policy.retry import RetryPolicy
from nsqkit.sql.saga.events import topic_of
from nsqkit.sql.saga.spec import Reply, actions_of
from nsqkit.sql.saga.steps import Call, Send, Step

if TYPE_CHECKING:
    from nsqkit.policy.saga_terms import Action

MAX_CALL_S: Final = 840.0
"""Longest timeout of a call: its message has to be settled before nsqd takes it back after 15 minutes."""
_NAME: Final = re.compile(r"[\w-]+")


def named_problems(name: object, version: object, channel: object) -> Iterator[str]:
    """Yield what is wrong with the class keywords.

    Args:
        name: Name of the saga.
        version: Version of its steps.
        channel: Channel of its handlers.
    """
    if not (isinstance(name, str) and _NAME.fullmatch(name) and topic_problem(topic_of(name)) is None):
        yield f"name={name!r} is not a name of letters, digits, _ and -"
    if type(version) is not int or version < 1:
        yield f"version={version!r} is not a whole number of 1 or more; add version=1 to the class keywords"
    if not isinstance(channel, str) or (problem := channel_problem(channel)):
        yield f"channel={channel!r} is not a string" if not isinstance(channel, str) else str(problem)


def step_problems(steps: object) -> Iterator[str]:
    """Yield what is wrong with steps, one line for each mistake.

    Args:
        steps: What the class declares.
    """
    if not isinstance(steps, list | tuple) or not steps:
        yield "has no steps; write steps = (Step(…), …)"
        return
    wrong = [each for each in steps if not isinstance(each, Step)]
    if wrong:
        yield f"steps has {wrong[0]!r}; every step is a Step(name, action)"
        return
    names: set[object] = set()
    for step in steps:
        if not (isinstance(step.name, str) and _NAME.fullmatch(step.name)):
            yield f"step {step.name!r}: the name is not of letters, digits, _ and -"
        if step.name in names:
            yield f"step {step.name!r}: two steps have this name; rename one"
        names.add(step.name)
    for action, does in actions_of(steps):
        for problem in _action_problems(does):
            yield f"step {action}: {problem}"
    yield from _ambiguous(steps)


def replies_of(steps: Sequence[Step]) -> dict[type[Any], Reply]:
    """Return what each reply event means, for steps without mistakes."""
    return {
        event.model: Reply(action, function)
        for action, does in actions_of(steps)
        if isinstance(does, Send)
        for function in does.replies
        if (event := reply_event(function)) is not None
    }


def reply_event(function: Callable[..., Any]) -> EventType | None:
    """Return the event that a reply method takes, from the annotation of its last parameter; None if none."""
    names = list(inspect.signature(function).parameters)
    return _event(_hints(function).get(names[-1])) if names else None


def _action_problems(does: object) -> Iterator[str]:
    if not isinstance(does, Send | Call):
        yield f"{does!r} is no action; give Send(…) or Call(…)"
        return
    most_s = MAX_CALL_S if isinstance(does, Call) else float("inf")
    number: object = does.timeout_s
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= most_s:
        limit = f", at most {most_s:g}" if isinstance(does, Call) else ""
        yield f"timeout_s={number!r} is not a number of seconds above 0{limit}"
    policy: object = does.retry
    if not isinstance(policy, RetryPolicy):
        yield f"retry={policy!r} is not a policy; write retry=RetryPolicy(…)"
    yield from _call_problems(does) if isinstance(does, Call) else _send_problems(does)


def _call_problems(call: Call) -> Iterator[str]:
    if not inspect.iscoroutinefunction(call.function):
        yield f"{_name(call.function)} must be async def {_name(call.function)}(self, state, call)"
    elif not _takes(call.function, 3):
        yield f"{_name(call.function)} must take (self, state, call)"


def _send_problems(send: Send) -> Iterator[str]:
    name = _name(send.command)
    if not (_takes(send.command, 2) or _takes(send.command, 3)) or inspect.iscoroutinefunction(send.command):
        yield f"{name} must be a plain def {name}(self, state) that returns the command"
    elif (command := _event(_hints(send.command).get("return"))) is None:
        yield f"annotate what {name} returns, with a class decorated with @event"
    elif command.topic is None:
        yield f"command {command.wire_type} has no topic; add one to its @event"
    if not isinstance(send.replies, list | tuple):
        yield f"replies={send.replies!r} is not a tuple of methods, such as replies=(reserved, refused)"
        return
    for reply in send.replies:
        yield from _reply_problems(reply)


def _reply_problems(reply: Callable[..., Any]) -> Iterator[str]:
    name = _name(reply)
    if not _takes(reply, 3) or inspect.iscoroutinefunction(reply):
        yield f"reply {name} has no handler; write a plain def {name}(self, state, event), and name it here"
    elif (event := reply_event(reply)) is None:
        yield f"annotate the event of {name}, with a class decorated with @event"
    elif event.topic is None:
        yield f"reply {event.wire_type} has no topic; add one to its @event"


def _ambiguous(steps: Sequence[Step]) -> Iterator[str]:
    """Yield replies that could answer two actions."""
    first: dict[str, Action] = {}
    for action, does in actions_of(steps):
        replies = does.replies if isinstance(does, Send) and isinstance(does.replies, list | tuple) else ()
        found = [reply_event(each) for each in replies if callable(each)]
        for event in filter(None, found):
            other = first.setdefault(event.wire_type, action)
            if other is not action:
                name = event.wire_type
                yield f"step {action}: its reply {name} is a reply of {other} too; give each its own"


def _takes(function: object, count: int) -> bool:
    if not inspect.isfunction(function):
        return False
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True


def _event(annotation: Any) -> EventType | None:
    return REGISTRY.known(annotation) if isinstance(annotation, type) else None


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - an annotation may be any expression
        return {}


def _name(function: object) -> str:
    return getattr(function, "__name__", repr(function))
