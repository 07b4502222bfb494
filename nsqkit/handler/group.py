"""Groups: a class that stands for several handlers, such as a saga; loaders and workers run its handlers."""

from collections.abc import Iterable
from typing import Any, ClassVar

from nsqkit.handler.handler import AnyHandler
from nsqkit.handler.sagas import SagaReader
from nsqkit.handler.spec import HandlerSpec


class HandlerGroup:
    """Base of classes that stand for several handlers.

    Attributes:
        handlers: The handler classes; empty for a class with mistakes.
        problems: The mistakes in the class statement, one line each.
        saga_reader: Reads its instances for the monitor page; None if it has none.
    """

    handlers: ClassVar[tuple[type[AnyHandler[Any]], ...]] = ()
    problems: ClassVar[tuple[str, ...]] = ()
    saga_reader: ClassVar[SagaReader | None] = None


Handlers = Iterable[type[AnyHandler[Any]] | type[HandlerGroup]]


def ungrouped(classes: Handlers) -> tuple[type[AnyHandler[Any]], ...]:
    """Return the handler classes among some classes, those of groups in their place.

    Args:
        classes: Handler classes and groups, in order.
    """
    found: list[type[AnyHandler[Any]]] = []
    for each in classes:
        found += each.handlers if issubclass(each, HandlerGroup) else (each,)
    return tuple(found)


def groups_of(specs: Iterable[HandlerSpec]) -> tuple[type[HandlerGroup], ...]:
    """Return the groups of some handlers, each once.

    Args:
        specs: Declarations of handlers, in order.
    """
    found = dict.fromkeys(getattr(spec.handler, "group", None) for spec in specs)
    return tuple(each for each in found if isinstance(each, type) and issubclass(each, HandlerGroup))
