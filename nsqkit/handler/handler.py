"""Handlers: the class that a team derives from; it checks its class statement and keeps what it says."""

from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, Generic, TypeVar, Unpack

from nsqkit.errors import HandlerError
from nsqkit.handler.context import Context
from nsqkit.handler.declaration import Declaration, events_of, location_of, misspelt
from nsqkit.handler.options import HandlerOptions
from nsqkit.handler.spec import HandlerSpec, spec_of
from nsqkit.policy.outcome import Outcome

E = TypeVar("E")

deferring: ContextVar[bool] = ContextVar("deferring", default=False)
"""Set by the loader, which then reports the mistakes of all classes together."""


class AnyHandler(Generic[E]):
    """What a handler class keeps of its declaration, whatever its ``handle`` takes."""

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
        """Keep what a class statement says, or refuse it with all of its mistakes.

        Args:
            kind: The public class that it derives from.
            given: Its class keywords but ``abstract``, those that do not exist included.
            known: The class keywords that exist, beside ``abstract``.
            takes: Names of the parameters of ``handle``, with commas between them.
            abstract: Whether it only shares its options.

        Raises:
            HandlerError: If something is wrong, and no loader gathers the mistakes.
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
        if cls.problems and not deferring.get():
            raise HandlerError(cls.problems)
        if not (cls.problems or abstract):
            cls.spec = spec_of(cls, cls._models, cls._options, location)

    def handle(self, *args: Any, **kwargs: Any) -> Any:
        """Handle what its kind says."""
        raise NotImplementedError


class Handler(AnyHandler[E]):
    """Handles the events of one topic on one channel.

    Derive from it with the event type, or a union of them, and give the options as class keywords::

        class Notify(Handler[OrderCreated], channel="notify"):
            async def handle(self, event: OrderCreated, ctx: Context) -> None: ...

    Parameters of ``__init__`` are resources, found by their type.

    Args:
        abstract: True for a class that only shares options with those derived from it.
        options: The class keywords, such as ``channel``, ``timeout_s`` and ``retry``:
            ``help(nsqkit.handler.options.HandlerOptions)`` describes each of them.

    Raises:
        HandlerError: When the class is made and something about it is wrong; all its mistakes.
    """

    def __init_subclass__(cls, *, abstract: bool = False, **options: Unpack[HandlerOptions]) -> None:
        super().__init_subclass__()
        known = HandlerOptions.__optional_keys__
        cls._declare(Handler, options, known=known, takes="event, ctx", abstract=abstract)

    def handle(self, event: E, ctx: Context, /) -> Awaitable[Outcome | None] | Outcome | None:
        """Handle one event; ``async def`` runs on the loop, plain ``def`` in a thread.

        Args:
            event: The decoded event.
            ctx: What else is known of the message.

        Returns:
            None or ``Finish()`` when it is done, or another outcome. Raise for a failure.
        """
        raise NotImplementedError


def _added(inherited: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of which a class adds its own to those of its base class."""
    lists = {name: own[name] for name in ("middleware", "uses") if isinstance(own.get(name), list | tuple)}
    return {name: (*inherited.get(name, ()), *values) for name, values in lists.items()}
