"""Resources: what handlers need, declared as generator functions and found by type."""

import functools
import inspect
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, overload

from nsqkit.errors import HandlerError
from nsqkit.events.unreadable import unreadable
from nsqkit.handler.mistakes import report

T = TypeVar("T")
_YIELDING = (AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator)
Per = Literal["worker", "message", "thread"]
Figures = Callable[[Any], Iterable[tuple[str, tuple[str, ...], float]]]
_ASKS: Mapping[Per, frozenset[Per]] = {
    "worker": frozenset({"worker"}),
    "thread": frozenset({"worker", "thread"}),
    "message": frozenset({"worker", "thread", "message"}),
}
"""Whose resources each kind may ask for: those that are open for at least as long."""


class Resource(Generic[T]):
    """Something that handlers need, such as a connection; made by ``@resource``.

    Attributes:
        name: Name of the function.
        per: Scope of one instance: ``worker``, ``message`` or ``thread``.
        is_async: Whether it is opened and closed on the event loop.
        function: The generator function, as written.
        brings: Resources that it may ask for although no module of the handlers has them.
        figures: Returns family, label values and number of each metric of an opened one; None if it has none.
        problems: The mistakes in its declaration, one line each.
    """

    def __init__(
        self,
        function: Callable[..., AsyncIterator[T] | Iterator[T]],
        per: Per = "worker",
        brings: "Sequence[Resource[Any]]" = (),
        figures: Figures | None = None,
    ) -> None:
        self.function = function
        self.brings = tuple(brings)
        self.figures = figures
        self.name = function.__name__
        self.per = per
        self.problems = tuple(_mistakes(function, per))
        report(self.problems)
        self.is_async = inspect.isasyncgenfunction(function)
        functools.update_wrapper(self, function)

    @property
    def location(self) -> str:
        """``file:line`` of the function."""
        return _location(self.function)

    @functools.cached_property
    def provides(self) -> Any:
        """The type by which handlers and other resources ask for it; read when all modules are loaded.

        Raises:
            HandlerError: If the return annotation cannot be read.
        """
        try:
            return _meant(get_args(_returned(self.function))[0])
        except Exception as error:
            problem = unreadable(error, self.function.__module__)
            raise HandlerError((f"{self.location}: resource {self.name}: {problem}",)) from error

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncIterator[T] | Iterator[T]:
        """Call the function as written, as tests do."""
        return self.function(*args, **kwargs)


Opens = Callable[..., AsyncIterator[T]] | Callable[..., Iterator[T]]


@overload
def resource(function: Opens[T], /) -> Resource[T]: ...
@overload
def resource(*, per: Per) -> Callable[[Opens[T]], Resource[T]]: ...
def resource(
    function: Opens[T] | None = None, /, *, per: Per = "worker"
) -> Resource[T] | Callable[[Opens[T]], Resource[T]]:
    """Turn a generator function into a resource.

    The function yields once; the code after the ``yield`` closes the resource. Its parameters are
    ``Settings`` or other resources. Its return annotation names the type of the yielded value.

    Per worker (the default): opened once, closed after the drain of the worker. Handlers and resources ask
    for it by its type, in the parameters of ``__init__`` or of the function::

        @resource
        async def warehouse(settings: Settings) -> AsyncIterator[Warehouse]:
            async with connect(settings.app_text("warehouse_url", "")) as connection:
                yield Warehouse(connection)

    Per message: opened before each call of a handler that lists it in ``uses``, closed before the message
    is settled. If the handler fails, its error is raised at the ``yield``; otherwise the ``yield`` returns
    the verdict. An error in closing fails the message. A batch shares one instance per call::

        @resource(per="message")
        async def session(engine: Engine) -> AsyncIterator[Session]:
            async with engine.begin() as connection:  # commits, or rolls back if the handler fails
                yield Session(connection)


        class Reserve(Handler[OrderCreated], channel="stock", uses=[session]):
            async def handle(self, event: OrderCreated, ctx: Context) -> None:
                ctx.resource(session).add(event)

    An async function is run on the event loop, a plain one in the thread of its plain handler.

    Per thread, for connections that belong to one thread: a plain function, opened at the first call in
    each thread of a plain handler that lists it in ``uses``, closed when the thread ends.

    Args:
        function: The generator function, plain or async.
        per: Scope of one instance: ``"worker"``, ``"message"`` or ``"thread"``.

    Raises:
        HandlerError: If it does not yield, or its return annotation names no type.
        TypeError: If it is not a function.
    """
    if function is None:
        return lambda each: Resource(each, per)
    return Resource(function, per)


def _location(function: Callable[..., Any]) -> str:
    code = inspect.unwrap(function).__code__  # a decorator, such as asynccontextmanager, is elsewhere
    return f"{code.co_filename}:{code.co_firstlineno}"


def _mistakes(function: Callable[..., Any], per: Per) -> Iterator[str]:
    """Yield the mistakes in the declaration of a resource, one line each."""
    if not inspect.isfunction(function):
        raise TypeError(f"{function!r} cannot be a resource: @resource is for a generator function")
    where = f"{_location(function)}: resource {function.__name__}"
    if not (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
        yield f"{where}: must be a generator function; yield the resource once"
        return
    if per not in get_args(Per):
        yield f"{where}: per={per!r} is not one of {get_args(Per)}"
    elif per == "thread" and inspect.isasyncgenfunction(function):
        yield f'{where}: per="thread" is for a plain generator function; remove async'
    try:
        returned = _returned(function)
    except Exception:  # noqa: BLE001 - it may name a class that is defined below; else provides raises
        return
    if get_origin(returned) not in _YIELDING or not get_args(returned):
        yield f"{where}: annotate what it yields, as in -> AsyncIterator[Warehouse]"


def _returned(function: Callable[..., Any]) -> Any:
    return _meant(typing.get_type_hints(function).get("return"))


def _meant(kind: Any) -> Any:
    """Return what an alias made by a ``type`` statement stands for; any other type as it is."""
    while type(kind).__name__ == "TypeAliasType":
        kind = kind.__value__
    return kind


def parameters(function: Any) -> dict[str, Any]:
    """Return the annotated types of a function's parameters by name; None for one without annotation.

    Parameters with a default are left out: they keep it.
    """
    hints = typing.get_type_hints(function)
    names = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    return {name: _meant(hints.get(name)) for name in names}


def circle(resources: Sequence[Resource[Any]]) -> tuple[Resource[Any], ...]:
    """Return a cycle of resources, each of which needs the next and the last the first; empty if none."""

    def walk(path: tuple[Resource[Any], ...]) -> tuple[Resource[Any], ...]:
        for name, kind in parameters(path[-1].function).items():
            needed = provider(name, kind, resources, path[-1].per)
            if needed in path:
                return path[path.index(needed) :]
            if needed is not None and (found := walk((*path, needed))):
                return found
        return ()

    return next((found for each in resources if (found := walk((each,)))), ())


def with_brought(
    resources: Sequence[Resource[Any]], uses: Iterable[Resource[Any]]
) -> tuple[Resource[Any], ...]:
    """Return resources, and those that the resources of messages bring with them; each once.

    Args:
        resources: The resources of the handlers' modules.
        uses: What handlers and extensions name in ``uses``.
    """
    return tuple(dict.fromkeys((*resources, *(brought for each in uses for brought in each.brings))))


def needs(resource: Resource[Any], resources: Sequence[Resource[Any]]) -> Iterator[Resource[Any]]:
    """Yield what a resource needs that does not live as long as the worker, and what that needs."""
    for name, kind in parameters(resource.function).items():
        found = provider(name, kind, resources, resource.per)
        if found is not None and found.per != "worker":
            yield found
            yield from needs(found, resources)


def provider(
    name: str, wanted: Any, resources: Sequence[Resource[Any]], per: Per = "worker"
) -> Resource[Any] | None:
    """Return the resource that provides a type; of several, the one with the parameter's name; else None.

    Args:
        name: Name of the parameter.
        wanted: Annotated type of the parameter.
        resources: The resources to search.
        per: Scope of the asking handler or resource; it may ask for this scope and for ``worker``.
    """
    allowed = [found for found in resources if found.per in _ASKS[per]]
    matching = [found for found in allowed if found.provides == wanted]
    if not matching:
        matching = [found for found in allowed if _is_kind_of(found.provides, wanted)]
    named = [found for found in matching if found.name == name]
    return (named or matching)[0] if len(matching) == 1 or named else None


def _is_kind_of(provided: Any, wanted: Any) -> bool:
    try:
        return issubclass(provided, wanted)
    except TypeError:
        return False
