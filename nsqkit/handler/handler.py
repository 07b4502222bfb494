"""Handlers: the base class of handlers; it checks each class statement and keeps its declaration."""

from abc import abstractmethod
from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar, Generic, TypeVar, Unpack

from nsqkit.events.any_event import AnyEvent
from nsqkit.handler.brackets import events_of
from nsqkit.handler.context import Context
from nsqkit.handler.declaration import Declaration, location_of, misspelt
from nsqkit.handler.mistakes import report
from nsqkit.handler.options import HandlerOptions
from nsqkit.handler.spec import HandlerSpec, spec_of
from nsqkit.policy.outcome import Outcome

E = TypeVar("E", bound=AnyEvent)


class AnyHandler(Generic[E]):
    """Base of ``Handler`` and ``BatchHandler``: keeps the declaration of a handler class.

    Attributes:
        spec: The checked declaration; not set for an abstract class or one with mistakes.
        problems: The mistakes in the class statement, one line each.
    """

    spec: ClassVar[HandlerSpec]
    problems: ClassVar[tuple[str, ...]] = ()
    _options: ClassVar[Mapping[str, Any]] = {}
    _models: ClassVar[tuple[Any, ...]] = ()

    @classmethod
    def _declare(
        cls,
        kind: "type[AnyHandler[Any]]",
        given: Mapping[str, object],
        *,
        known: frozenset[str],
        takes: str,
        abstract: bool,
    ) -> None:
        """Check and keep a declaration, or raise an error with all of its mistakes.

        Args:
            kind: The public base class: ``Handler`` or ``BatchHandler``.
            given: The class keywords except ``abstract``, unknown ones included.
            known: The class keywords that exist, except ``abstract``.
            takes: Parameter names of ``handle``, separated by commas.
            abstract: Whether the class only passes its options on to derived classes.

        Raises:
            HandlerError: If the declaration has mistakes and no loader collects them.
        """
        location = location_of(cls.__module__)
        unknown = [name for name in given if name not in known]
        own = {name: value for name, value in given.items() if value is not None and name not in unknown}
        cls._options = {**cls._options, **own, **_added(cls._options, own)}
        cls._models = events_of(cls, AnyHandler) or cls._models
        found = [misspelt(name, {*known, "abstract"}) for name in unknown]
        if not abstract:
            handle = None if cls.handle is kind.handle else cls.handle
            declared = Declaration(cls._models, cls._options, handle, kind=kind.__name__, takes=takes)
            found += declared.problems()
        cls.problems = tuple(f"{location}: {cls.__name__}: {problem}" for problem in found)
        report(cls.problems)
        if not (cls.problems or abstract):
            cls.spec = spec_of(cls, cls._models, cls._options, location)

    def handle(self, *args: Any, **kwargs: Any) -> Any:
        """Handle an event or a batch; defined by ``Handler`` and ``BatchHandler``."""
        raise NotImplementedError


class Handler(AnyHandler[E]):
    """Handles the events of one topic on one channel.

    Derive from it with the event type, or a union of them, and give the options as class keywords::

        class Notify(Handler[OrderCreated], channel="notify"):
            async def handle(self, event: OrderCreated, ctx: Context) -> None: ...

    Parameters of ``__init__`` are resources, found by their type.

    Args:
        abstract: True for a base class that only passes its options on to derived classes.
        options: The class keywords, such as ``channel``, ``timeout_s`` and ``retry``.
            ``help(nsqkit.handler.options.HandlerOptions)`` describes each of them.

    Raises:
        HandlerError: On class creation, if the declaration has mistakes; lists all of them.
    """

    def __init_subclass__(cls, *, abstract: bool = False, **options: Unpack[HandlerOptions]) -> None:
        super().__init_subclass__()
        known = HandlerOptions.__optional_keys__
        cls._declare(Handler, options, known=known, takes="event, ctx", abstract=abstract)

    @abstractmethod
    def handle(self, event: E, ctx: Context, /) -> Awaitable[Outcome | None] | Outcome | None:
        """Handle one event; ``async def`` runs on the loop, plain ``def`` in a thread.

        Args:
            event: The decoded event.
            ctx: Context of the message, such as its attempts and its logger.

        Returns:
            None or ``Finish()`` for success, or another outcome. Raise an exception for a failure.
        """
        raise NotImplementedError


def _added(inherited: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the list options of a class, each appended to the list of its base class."""
    lists = {name: own[name] for name in ("middleware", "uses") if isinstance(own.get(name), list | tuple)}
    return {name: (*inherited.get(name, ()), *values) for name, values in lists.items()}
