"""Declarations: what is wrong with a handler class, found when the class is made."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from nsqkit.errors import EventError
from nsqkit.events.types import REGISTRY, EventType
from nsqkit.policy.kill_switch import KillSwitch
from nsqkit.policy.names import channel_problem, topic_problem
from nsqkit.policy.rate import RateLimit
from nsqkit.policy.retry import RetryPolicy
from nsqkit.policy.suggestion import suggestion
from nsqkit.policy.verdict import OnExpired, OnUnknown

MAX_IN_FLIGHT = 2500
"""nsqd's own limit of RDY (its option max-rdy-count)."""
MAX_TIMEOUT_S = 880.0
"""A delivery cannot be held longer than nsqd's max-msg-timeout, 15 min by default."""
TIMEOUT_S = 30.0
"""The timeout of a handler that declares none."""


class Declaration:
    """One handler class as it was written.

    Args:
        models: What stands in the brackets of the class that it derives from.
        options: The class keywords that were given, inherited ones included.
        handle: Its method; None where it has none of its own.
        kind: Name of the class that it derives from.
        takes: Names of what its method takes, with commas between them.
    """

    def __init__(
        self,
        models: tuple[Any, ...],
        options: Mapping[str, Any],
        handle: Callable[..., Any] | None,
        *,
        kind: str = "Handler",
        takes: str = "event, ctx",
    ) -> None:
        self._models = models
        self._options = options
        self._handle = handle
        self._kind = kind
        self._takes = takes

    def problems(self) -> list[str]:
        """Return one line per mistake, each with what to change."""
        found = [*self._events(), *self._names(), *self._values(), *self._method()]
        return [problem for problem in found if problem]

    def _events(self) -> Iterator[str]:
        if not self._models:
            yield f"derives from {self._kind} without an event type; write {self._kind}[YourEvent]"
        for model in self._models:
            if not isinstance(model, type):
                yield f"event type {model!r} is not a class; define the event above the handler"
                continue
            try:
                REGISTRY.of(model)
            except EventError as error:
                yield str(error)

    def _names(self) -> Iterator[str | None]:
        topic = self._options.get("topic")
        if topic is None:
            yield self._topic_of_events()
        else:
            yield _text_problem("topic", topic) or topic_problem(topic)
        channel = self._options.get("channel")
        if channel is None:
            yield 'has no channel; add channel="…" to the class keywords'
        else:
            yield _text_problem("channel", channel) or channel_problem(channel)

    def _topic_of_events(self) -> str | None:
        known = [event_type for model in self._models if (event_type := _known(model))]
        topics = {event_type.topic for event_type in known}
        if len(known) < len(self._models) or not known:
            return None  # told already
        if topics == {None}:
            return 'has no topic; add topic="…" to the class keywords or to @event(…)'
        if len(topics) > 1:
            named = ", ".join(f"{each.wire_type} on {each.topic}" for each in known)
            return f'its events have different topics ({named}); add topic="…" to the class keywords'
        return None

    def _values(self) -> Iterator[str | None]:
        yield self._whole("max_in_flight", 1, MAX_IN_FLIGHT)
        yield self._whole("threads", 1, 256)
        yield self._seconds("timeout_s", MAX_TIMEOUT_S)
        yield self._seconds("max_age_s", float("inf"))
        yield self._whole("max_messages", 1, MAX_IN_FLIGHT) or self._too_few_in_flight()
        yield self._seconds("max_wait_s", MAX_TIMEOUT_S) or self._too_long_a_batch()
        yield self._one_of("on_unknown", get_args(OnUnknown))
        yield self._one_of("on_expired", get_args(OnExpired))
        yield self._flag("run_on_loop")
        yield self._flag("dead_letters")
        yield self._made("retry", RetryPolicy, "RetryPolicy(max_attempts=…, backoff=…)")
        yield self._made("kill_switch", KillSwitch, "KillSwitch(failure_ratio=…, min_messages=…)")
        yield self._made("rate_limit", RateLimit, "RateLimit(per_s=…)")
        yield from self._error_types()

    def _too_few_in_flight(self) -> str | None:
        most, batch = self._options.get("max_in_flight"), self._options.get("max_messages")
        if type(most) is not int or type(batch) is not int or most >= batch:
            return None
        return (
            f"max_in_flight={most} is less than max_messages={batch}, so that no batch would be full; "
            "raise it, or leave it out"
        )

    def _too_long_a_batch(self) -> str | None:
        wait_s, timeout_s = self._options.get("max_wait_s"), self._options.get("timeout_s", TIMEOUT_S)
        if wait_s is None or self._seconds("timeout_s", MAX_TIMEOUT_S):
            return None
        if wait_s + timeout_s <= MAX_TIMEOUT_S:
            return None
        return (
            f"max_wait_s={wait_s:g} and timeout_s={timeout_s:g} are more than the {MAX_TIMEOUT_S:g} seconds "
            "for which a message can be held; lower one of them"
        )

    def _error_types(self) -> Iterator[str]:
        errors = self._options.get("errors", ())
        if not isinstance(errors, tuple):
            yield f"errors={errors!r} is not a tuple; write errors=(ThisError, ThatError)"
            return
        for error in errors:
            if not (isinstance(error, type) and issubclass(error, Exception)):
                yield f"errors has {error!r}, which is not a class of exceptions"

    def _method(self) -> Iterator[str | None]:
        handle = self._handle
        if handle is None:
            yield f"has no handle method; write async def handle(self, {self._takes})"
            return
        is_async = inspect.iscoroutinefunction(handle)
        if inspect.isgeneratorfunction(handle) or inspect.isasyncgenfunction(handle):
            yield "handle must not yield; return None or an outcome"
        try:
            inspect.signature(handle).bind(None, *self._takes.split(","))
        except TypeError:
            yield f"handle must take (self, {self._takes})"
        if is_async and "threads" in self._options:
            yield "threads is for a plain def handle; an async def handle is bounded by max_in_flight"
        if is_async and self._options.get("run_on_loop"):
            yield "run_on_loop is for a plain def handle; an async def handle runs on the loop anyway"

    def _whole(self, name: str, least: int, most: int) -> str | None:
        value = self._options.get(name)
        if value is None:
            return None
        if type(value) is not int:
            return f"{name}={value!r} is not a whole number"
        return None if least <= value <= most else f"{name}={value!r} is not in {least}..{most}"

    def _seconds(self, name: str, most: float) -> str | None:
        value = self._options.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{name}={value!r} is not a number of seconds"
        limit = "" if most == float("inf") else f" and at most {most:g}"
        return None if 0 < value <= most else f"{name}={value!r} must be above 0{limit} seconds"

    def _one_of(self, name: str, choices: tuple[str, ...]) -> str | None:
        value = self._options.get(name)
        return None if value is None or value in choices else f"{name}={value!r} is not one of {choices}"

    def _made(self, name: str, kind: type, example: str) -> str | None:
        value = self._options.get(name)
        if value is None or isinstance(value, kind):
            return None
        return f"{name}={value!r} is not a policy; write {name}={example}"

    def _flag(self, name: str) -> str | None:
        value = self._options.get(name)
        return None if value is None or type(value) is bool else f"{name}={value!r} is not True or False"


def _known(model: Any) -> EventType | None:
    try:
        return REGISTRY.of(model)
    except (EventError, TypeError):
        return None


def _text_problem(name: str, value: object) -> str | None:
    return None if isinstance(value, str) else f"{name}={value!r} is not a text"


def misspelt(name: str, known: tuple[str, ...]) -> str:
    """Return the problem of a class keyword that does not exist."""
    return f"unknown class keyword {name!r}{suggestion(name, known)}"
