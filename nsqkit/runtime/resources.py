"""Resources: open the resources of a worker, pass them to handlers, and close them in reverse order."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from nsqkit.errors import CreationError, NsqkitError, ResourceError
from nsqkit.handler.batch import BatchHandler
from nsqkit.handler.extension import Extension, Hooks, Layer, Middleware
from nsqkit.handler.handler import AnyHandler
from nsqkit.handler.origin import place_of
from nsqkit.handler.resources import Per, Resource, parameters, provider, with_brought
from nsqkit.handler.spec import HandlerSpec
from nsqkit.policy.redaction import describe
from nsqkit.runtime.failure import raise_all
from nsqkit.runtime.scope import Opening
from nsqkit.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class ReadyHandler:
    """A handler instance with its extensions and resources.

    Args:
        handler: The handler instance.
        hooks: Hooks of the extensions around the handler.
        openings: Its per-message and per-thread resources, each after the ones that it needs.
    """

    handler: AnyHandler[Any]
    hooks: Hooks = field(default_factory=Hooks)
    openings: tuple[Opening, ...] = ()


_left_open: list[AsyncExitStack] = []
"""What hung handlers may use until the process ends; without a reference it would be closed."""


class Resources:
    """The resources of one worker. Each is opened once, when it is first needed.

    Args:
        resources: The resources that handlers may ask for.
        settings: Passed to parameters of type ``Settings``.

    Attributes:
        known: The resources that handlers may ask for.
    """

    def __init__(self, resources: Sequence[Resource[Any]], settings: Settings) -> None:
        self.known = tuple(resources)
        self._settings = settings
        self._opened: dict[Resource[Any], Any] = {}
        self._extensions: dict[type[Extension], Extension] = {}
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._used: dict[type[AnyHandler[Any]], set[Resource[Any]]] = {}
        # One stack for each: what one raises is not thrown into another.
        self._stacks: dict[Resource[Any], AsyncExitStack] = {}

    async def make(self, spec: HandlerSpec) -> AnyHandler[Any]:
        """Create an instance of a handler class with its resources.

        Raises:
            ResourceError: If a resource cannot be opened.
            CreationError: If an ``__init__`` raises an error.
        """
        handler: AnyHandler[Any] = await self._instance(spec.handler, spec.location)
        return handler

    async def prepare(self, spec: HandlerSpec, middleware: Sequence[Layer] = ()) -> ReadyHandler:
        """Create an instance of a handler class with its resources and extensions.

        Args:
            spec: Declaration of the handler.
            middleware: Extensions of the worker, outermost first; they are outside the handler's.

        Raises:
            ResourceError: If a resource cannot be opened.
            CreationError: If an ``__init__`` raises an error.
        """
        layers = [await self._layer(each) for each in (*middleware, *spec.middleware)]
        extensions = [each for each in layers if isinstance(each, Extension)]
        uses = (*spec.uses, *(resource for each in extensions for resource in each.uses))
        self.known = with_brought(self.known, uses)
        made = (spec.handler, *(type(each) for each in extensions if type(each) in self._extensions))
        asking = [
            *((kind.__init__, "worker") for kind in made if _asks(kind)),
            *((each.function, each.per) for each in uses),
        ]
        self._used[spec.handler] = {
            found for function, per in asking for found in self._needed(function, per)
        }
        handler = await self.make(spec)
        hooks = Hooks.of(layers, is_batch=isinstance(handler, BatchHandler))
        self._closers += [each for each in hooks.close if each not in self._closers]
        return ReadyHandler(handler, hooks, tuple(await self._openings(uses)))

    async def _layer(self, layer: Layer) -> Extension | Middleware:
        """Return an extension; for a class, the one instance of the worker."""
        if not (isinstance(layer, type) and issubclass(layer, Extension)):
            return layer
        if layer not in self._extensions:
            self._extensions[layer] = await self._instance(layer)
        return self._extensions[layer]

    async def _instance(self, kind: type[Any], location: str = "") -> Any:
        arguments = await self._arguments(kind.__init__) if _asks(kind) else {}
        try:
            return kind(**arguments)
        except NsqkitError:  # its text already says what to change, as for a setting out of range
            raise
        except Exception as error:
            place = place_of(error) or location
            raise CreationError(kind.__name__, describe(error), place) from error

    def _needed(self, function: Any, per: Per) -> Iterator[Resource[Any]]:
        """Yield the resources that a function asks for, and those that they need."""
        for name, kind in parameters(function).items():
            if kind is not Settings and (found := provider(name, kind, self.known, per)) is not None:
                yield found
                yield from self._needed(found.function, found.per)

    async def _openings(self, uses: Sequence[Resource[Any]]) -> list[Opening]:
        """Return the openings of per-message and per-thread resources, each after the ones that it needs."""
        ordered: dict[Resource[Any], Opening] = {}
        for each in uses:
            await self._add_opening(each, ordered)
        return list(ordered.values())

    async def _add_opening(self, resource: Resource[Any], ordered: dict[Resource[Any], Opening]) -> None:
        if resource in ordered:
            return
        arguments, needs = {}, {}
        for name, kind in parameters(resource.function).items():
            found = provider(name, kind, self.known, resource.per)
            if found is not None and found.per != "worker":
                await self._add_opening(found, ordered)
                needs[name] = found
            else:
                arguments[name] = await self._argument(name, kind, resource.per)
        ordered[resource] = Opening(resource, arguments, needs)

    async def _arguments(self, function: Any) -> dict[str, Any]:
        return {name: await self._argument(name, kind) for name, kind in parameters(function).items()}

    async def _argument(self, name: str, kind: Any, per: Per = "worker") -> Any:
        if kind is Settings:
            return self._settings
        found = provider(name, kind, self.known, per)
        if found is None:
            raise LookupError(f"no resource yields {kind} for parameter {name!r}")
        if found not in self._opened:
            self._opened[found] = await self._open(found)
        return self._opened[found]

    async def _open(self, resource: Resource[Any]) -> Any:
        arguments = await self._arguments(resource.function)
        stack = AsyncExitStack()
        self._stacks[resource] = stack
        try:
            made = resource(**arguments)
            if isinstance(made, AsyncIterator):
                return await stack.enter_async_context(asynccontextmanager(lambda: made)())
            return stack.enter_context(contextmanager(lambda: made)())
        except NsqkitError:  # its text already says what to change, as for a setting out of range
            raise
        except Exception as error:
            place = place_of(error) or resource.location
            raise ResourceError(resource.name, describe(error), place) from error

    def figures(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """Yield the metrics of the open resources, those with the same labels added up."""
        totals: dict[tuple[str, tuple[str, ...]], float] = {}
        for resource in self._stacks:
            if resource.figures is not None and resource in self._opened:
                for family, labels, number in resource.figures(self._opened[resource]):
                    totals[family, labels] = totals.get((family, labels), 0) + number
        for (family, labels), number in totals.items():
            yield family, labels, number

    async def close(self, left_behind: Sequence[type[AnyHandler[Any]]] = ()) -> tuple[str, ...]:
        """Close the extensions, then the open resources, the last opened first, whatever the others raise.

        Args:
            left_behind: Handlers that still run. What they use stays open until the process ends: closing it
                would harm the calls that go on.

        Returns:
            The names of the resources that stay open.

        Raises:
            Exception: The error of one of them; of several, an ``ExceptionGroup`` of their errors.
        """
        in_use = {resource for handler in left_behind for resource in self._used.get(handler, ())}
        left_open = []
        errors: list[BaseException] = []
        while self._closers:
            try:
                await self._closers.pop(0)()
            except BaseException as error:  # noqa: BLE001 - it is raised once all are closed
                errors.append(error)
        while self._stacks:
            resource, stack = self._stacks.popitem()
            if resource in in_use:
                left_open.append(resource.name)
                _left_open.append(stack)
                continue
            try:
                await stack.aclose()
            except BaseException as error:  # noqa: BLE001 - it is raised once all are closed
                errors.append(error)
        raise_all(errors)
        return tuple(left_open)


def _asks(kind: type[Any]) -> bool:
    """Return whether a class has parameters of its own to be filled with resources."""
    return kind.__init__ is not object.__init__
