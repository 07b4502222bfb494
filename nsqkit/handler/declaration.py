"""Declaration: find the mistakes in a handler's class statement; it changes no class."""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, get_origin

from nsqkit.errors import EventError
from nsqkit.events.codec.protocol import codec_problem
from nsqkit.events.types import REGISTRY, EventType
from nsqkit.handler.awaited import is_async
from nsqkit.handler.checks import CHECKS
from nsqkit.handler.options import MAX_TIMEOUT_S, TIMEOUT_S
from nsqkit.policy.suggestion import suggestion


class Declaration:
    """The declaration of one handler class, not yet checked.

    Args:
        models: The event classes in the brackets of the base class.
        options: The given class keywords, inherited ones included; every name is in ``CHECKS``.
        handle: The ``handle`` method; None if the class does not define it.
        kind: Name of the public base class: ``Handler`` or ``BatchHandler``.
        takes: Parameter names of ``handle``, separated by commas.
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
        """Return one line per mistake; each says what to change."""
        values = (problem for name in CHECKS for problem in self._value(name))
        together = (*self._full_batches(), *self._batch_time(), *self._once())
        return [*self._events(), *values, *together, *self._method()]

    def _events(self) -> Iterator[str]:
        if not self._models:
            yield f"derives from {self._kind} without an event type; write {self._kind}[YourEvent]"
        for model in self._models:
            if not (inspect.isclass(model) or REGISTRY.known(get_origin(model))):
                yield f"event type {model!r} is not a class; define the event above the handler"
                continue
            try:
                REGISTRY.of(model)
            except EventError as error:
                yield str(error)
        yield from self._codec()

    def _codec(self) -> Iterator[str]:
        """Yield which events the handler's codec cannot read."""
        codec = self._options.get("codec")
        if codec is not None and not self._is_wrong("codec"):
            problems = (codec_problem(codec, model) for model in self._models if inspect.isclass(model))
            yield from filter(None, problems)

    def _value(self, name: str) -> Iterator[str]:
        """Yield the mistakes of one keyword by itself."""
        value = self._options.get(name)
        if value is not None:
            yield from CHECKS[name](name, value)
        elif name == "topic":
            yield from self._topic_of_events()
        elif name == "channel":
            yield 'has no channel; add channel="…" to the class keywords'

    def _topic_of_events(self) -> Iterator[str]:
        known = [event_type for model in self._models if (event_type := _known(model))]
        topics = {event_type.topic for event_type in known}
        if len(known) < len(self._models) or not known:
            return  # the mistake in the events is reported already
        if topics == {None}:
            yield 'has no topic; add topic="…" to the class keywords or to @event(…)'
        elif len(topics) > 1:
            named = ", ".join(f"{each.wire_type} on {each.topic}" for each in known)
            yield f'its events have different topics ({named}); add topic="…" to the class keywords'

    def _full_batches(self) -> Iterator[str]:
        most, batch = self._options.get("max_in_flight"), self._options.get("max_messages")
        if most is None or batch is None or self._is_wrong("max_in_flight", "max_messages"):
            return
        if most < batch:
            yield (
                f"max_in_flight={most} is less than max_messages={batch}, so no batch could be full; "
                "raise it or leave it out"
            )

    def _batch_time(self) -> Iterator[str]:
        wait_s, timeout_s = self._options.get("max_wait_s"), self._options.get("timeout_s", TIMEOUT_S)
        if wait_s is None or self._is_wrong("max_wait_s", "timeout_s"):
            return
        if wait_s + timeout_s > MAX_TIMEOUT_S:
            yield (
                f"max_wait_s={wait_s:g} plus timeout_s={timeout_s:g} is more than the {MAX_TIMEOUT_S:g} "
                "seconds that a message can be in flight; lower one of them"
            )

    def _once(self) -> Iterator[str]:
        if "once" not in self._options:
            if "event_key" in self._options:
                yield "event_key is for once=…; add it, or leave out event_key"
            return
        if self._options.get("run_on_loop"):
            yield "once would block the event loop with run_on_loop; write async def handle, or leave it out"

    def _is_wrong(self, *names: str) -> bool:
        return any(True for name in names for _ in self._value(name))

    def _method(self) -> Iterator[str]:
        handle = self._handle
        if handle is None:
            yield f"has no handle method; write async def handle(self, {self._takes})"
            return
        is_awaited = is_async(handle)
        if inspect.isgeneratorfunction(handle) or inspect.isasyncgenfunction(handle):
            yield "handle must not yield; return None or an outcome"
        try:
            inspect.signature(handle).bind(None, *self._takes.split(","))
        except TypeError:
            yield f"handle must take (self, {self._takes})"
        if is_awaited and "threads" in self._options:
            yield "threads is for a plain def handle; an async def handle is bounded by max_in_flight"
        if is_awaited and self._options.get("run_on_loop"):
            yield "run_on_loop is for a plain def handle; an async def handle runs on the loop anyway"


def misspelt(name: str, known: Iterable[str]) -> str:
    """Return the error line for an unknown class keyword, with a suggestion.

    Args:
        name: The unknown keyword.
        known: The keywords that exist.
    """
    return f"unknown class keyword {name!r}{suggestion(name, known)}"


def location_of(module: str) -> str:
    """Return ``file:line`` of the class statement that is being executed.

    Args:
        module: The ``__module__`` of the class being created.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to find the line of a class being created
    while frame.f_back is not None and frame.f_globals.get("__name__") != module:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _known(model: Any) -> EventType | None:
    try:
        return REGISTRY.of(model)
    except (EventError, TypeError):
        return None
