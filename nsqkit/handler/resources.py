"""Resources: what handlers need, declared as generator functions and found by type."""

import functools
import inspect
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, get_args

from nsqkit.errors import HandlerError

T = TypeVar("T")


class Resource(Generic[T]):
    """Something that handlers need, opened before the first message and closed after the last.

    Made by ``@resource``; one instance a worker.

    Attributes:
        name: Of the function.
        provides: The type by which handlers and other resources ask for it.
        function: The generator function, as written.
    """

    def __init__(self, function: Callable[..., AsyncIterator[T] | Iterator[T]]) -> None:
        self.function = function
        self.name = function.__name__
        self.provides = _provided(function)
        functools.update_wrapper(self, function)

    @property
    def location(self) -> str:
        """``file:line`` of the function."""
        return _location(self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncIterator[T] | Iterator[T]:
        """Call the function as written, as tests do."""
        return self.function(*args, **kwargs)


def resource(function: Callable[..., AsyncIterator[T]] | Callable[..., Iterator[T]]) -> Resource[T]:
    """Make a generator function a resource: what it yields is given to whoever asks for that type.

    The function yields once; what stands behind the ``yield`` runs when the worker has drained.
    Its parameters are ``Settings`` or other resources. Its return annotation names the type::

        @resource
        async def warehouse(settings: Settings) -> AsyncIterator[Warehouse]:
            async with connect(settings.app_text("warehouse_url", "")) as connection:
                yield Warehouse(connection)

    Raises:
        HandlerError: If it does not yield, or its return annotation names no type.
        TypeError: If it is not a function.
    """
    return Resource(function)


def _location(function: Callable[..., Any]) -> str:
    code = function.__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def _provided(function: Callable[..., Any]) -> Any:
    if not inspect.isfunction(function):
        raise TypeError(f"{function!r} cannot be a resource: @resource is for a generator function")
    where = f"{_location(function)}: resource {function.__name__}"
    if not (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
        raise HandlerError((f"{where}: must be a generator function; yield the resource once",))
    try:
        returned = typing.get_type_hints(function).get("return")
    except NameError as error:
        raise HandlerError((f"{where}: its annotations cannot be read: {error}",)) from None
    provided = get_args(returned)
    if not provided:
        raise HandlerError((f"{where}: annotate what it yields, as in -> AsyncIterator[Warehouse]",))
    return provided[0]


def parameters(function: Any) -> dict[str, Any]:
    """Return the types that a handler or a resource asks for, by parameter; None where it names none.

    A parameter with a default keeps it.
    """
    hints = typing.get_type_hints(function)
    names = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    return {name: hints.get(name) for name in names}


def circle(resources: Sequence[Resource[Any]]) -> tuple[Resource[Any], ...]:
    """Return resources of which each needs the next, and the last the first; none if there is no circle."""

    def walk(path: tuple[Resource[Any], ...]) -> tuple[Resource[Any], ...]:
        for name, kind in parameters(path[-1].function).items():
            needed = provider(name, kind, resources)
            if needed in path:
                return path[path.index(needed) :]
            if needed is not None and (found := walk((*path, needed))):
                return found
        return ()

    return next((found for each in resources if (found := walk((each,)))), ())


def provider(name: str, wanted: Any, resources: Sequence[Resource[Any]]) -> Resource[Any] | None:
    """Return the resource that provides a type; of several the one with the parameter's name; else None."""
    matching = [found for found in resources if found.provides == wanted]
    if not matching:
        matching = [found for found in resources if _is_kind_of(found.provides, wanted)]
    named = [found for found in matching if found.name == name]
    return (named or matching)[0] if len(matching) == 1 or named else None


def _is_kind_of(provided: Any, wanted: Any) -> bool:
    try:
        return issubclass(provided, wanted)
    except TypeError:
        return False
