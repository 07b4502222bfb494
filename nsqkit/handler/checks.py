"""Checks: the values that each class keyword accepts. Rules on two keywords are in ``declaration.py``."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, get_args

from nsqkit.events.codec.protocol import codec_problem
from nsqkit.handler.extension import Extension
from nsqkit.handler.once import Once
from nsqkit.handler.options import MAX_IN_FLIGHT, MAX_THREADS, MAX_TIMEOUT_S
from nsqkit.handler.resources import Resource
from nsqkit.policy.kill_switch import KillSwitch
from nsqkit.policy.names import channel_problem, topic_problem
from nsqkit.policy.rate import RateLimit
from nsqkit.policy.retry import RetryPolicy
from nsqkit.policy.verdict import OnExpired, OnUnknown

_LABEL = re.compile(r"[\w.-]+")
Check = Callable[[str, Any], Iterator[str]]
"""Called with a keyword and its value, not None; yields one line for each mistake."""


def _name(problem: Callable[[str], str | None]) -> Check:
    def check(name: str, value: Any) -> Iterator[str]:
        if not isinstance(value, str):
            yield f"{name}={value!r} is not a string"
        elif found := problem(value):
            yield found

    return check


def _label(name: str, value: Any) -> Iterator[str]:
    if not (isinstance(value, str) and _LABEL.fullmatch(value)):
        yield f"{name}={value!r} is not a name of letters, digits, _, - and dots"


def _whole(least: int, most: int) -> Check:
    def check(name: str, value: Any) -> Iterator[str]:
        if type(value) is not int:
            yield f"{name}={value!r} is not a whole number"
        elif not least <= value <= most:
            yield f"{name}={value!r} is not in {least}..{most}"

    return check


def _seconds(most: float | None = None) -> Check:
    def check(name: str, value: Any) -> Iterator[str]:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{name}={value!r} is not a number of seconds"
        elif not (value > 0 and (most is None or value <= most)):
            limit = "" if most is None else f" and at most {most:g}"
            yield f"{name}={value!r} must be above 0{limit} seconds"

    return check


def _one_of(choices: tuple[str, ...]) -> Check:
    def check(name: str, value: Any) -> Iterator[str]:
        if value not in choices:
            yield f"{name}={value!r} is not one of {choices}"

    return check


def _policy(kind: type, example: str) -> Check:
    def check(name: str, value: Any) -> Iterator[str]:
        if not isinstance(value, kind):
            yield f"{name}={value!r} is not a policy; write {name}={example}"

    return check


def _select(name: str, value: Any) -> Iterator[str]:
    if not callable(value) or inspect.iscoroutinefunction(value):
        yield f"{name}={value!r} is not a plain function; write def {name}_event(body) above the class"


def _codec(_name: str, value: Any) -> Iterator[str]:
    if problem := codec_problem(value):
        yield problem


def _flag(name: str, value: Any) -> Iterator[str]:
    if type(value) is not bool:
        yield f"{name}={value!r} is not True or False"


def _database(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, type) or not isinstance(value, Once):
        yield f'{name}={value!r} is not a database; write {name}=Database("…"), from nsqkit.sql'


def _function(name: str, value: Any) -> Iterator[str]:
    if not callable(value):
        yield f"{name}={value!r} is not a function; write {name}=lambda event: event.…"


def _error_types(name: str, value: Any) -> Iterator[str]:
    if not isinstance(value, tuple):
        yield f"{name}={value!r} is not a tuple; write {name}=(ThisError, ThatError)"
        return
    for error in value:
        if not (isinstance(error, type) and issubclass(error, Exception)):
            yield f"{name} has {error!r}, which is not an exception class"


def _list_of(is_one: Callable[[Any], bool], example: str) -> Check:
    def check(name: str, value: Any) -> Iterator[str]:
        if not isinstance(value, list | tuple):
            yield f"{name}={value!r} is not a list; write {name}=[{example}]"
            return
        for each in value:
            if not is_one(each):
                yield f"{name} has {each!r}; write {name}=[{example}]"

    return check


def _is_layer(value: Any) -> bool:
    return isinstance(value, Extension) or callable(value)


def _is_scoped(value: Any) -> bool:
    return isinstance(value, Resource) and value.per != "worker"


CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        "name": _label,
        "topic": _name(topic_problem),
        "channel": _name(channel_problem),
        "max_in_flight": _whole(1, MAX_IN_FLIGHT),
        "threads": _whole(1, MAX_THREADS),
        "timeout_s": _seconds(MAX_TIMEOUT_S),
        "max_age_s": _seconds(),
        "max_messages": _whole(1, MAX_IN_FLIGHT),
        "max_wait_s": _seconds(MAX_TIMEOUT_S),
        "on_unknown": _one_of(get_args(OnUnknown)),
        "on_expired": _one_of(get_args(OnExpired)),
        "select": _select,
        "codec": _codec,
        "run_on_loop": _flag,
        "dead_letters": _flag,
        "retry": _policy(RetryPolicy, "RetryPolicy(max_attempts=…, backoff=…)"),
        "kill_switch": _policy(KillSwitch, "KillSwitch(failure_ratio=…, min_messages=…)"),
        "rate_limit": _policy(RateLimit, "RateLimit(per_s=…)"),
        "errors": _error_types,
        "middleware": _list_of(_is_layer, "MyExtension()"),
        "once": _database,
        "event_key": _function,
        "uses": _list_of(_is_scoped, 'a @resource(per="message")'),
    }
)
"""The check of every class keyword, in the order in which mistakes are reported."""
