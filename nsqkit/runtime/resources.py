"""Resources: open what handlers need, give it to them, and close it in reverse order."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from nsqkit.errors import NsqkitError, ResourceError
from nsqkit.handler.handler import AnyHandler
from nsqkit.handler.resources import Resource, parameters, provider
from nsqkit.handler.spec import HandlerSpec
from nsqkit.policy.redaction import describe
from nsqkit.settings.settings import Settings


class Resources:
    """The resources of one worker: each is opened when it is first needed, once.

    Args:
        resources: What can be opened.
        settings: Given to whoever asks for ``Settings``.
    """

    def __init__(self, resources: Sequence[Resource[Any]], settings: Settings) -> None:
        self.known = tuple(resources)
        self._settings = settings
        self._opened: dict[Resource[Any], Any] = {}
        self._stack = AsyncExitStack()

    async def make(self, spec: HandlerSpec) -> AnyHandler[Any]:
        """Return an instance of a handler class, its resources given.

        Raises:
            ResourceError: If a resource cannot be opened.
            Exception: What the class itself raised.
        """
        init = spec.handler.__init__
        arguments = await self._arguments(init) if init is not object.__init__ else {}
        return spec.handler(**arguments)

    async def _arguments(self, function: Any) -> dict[str, Any]:
        return {name: await self._argument(name, kind) for name, kind in parameters(function).items()}

    async def _argument(self, name: str, kind: Any) -> Any:
        if kind is Settings:
            return self._settings
        found = provider(name, kind, self.known)
        if found is None:
            raise LookupError(f"no resource yields {kind} for parameter {name!r}")
        if found not in self._opened:
            self._opened[found] = await self._open(found)
        return self._opened[found]

    async def _open(self, resource: Resource[Any]) -> Any:
        arguments = await self._arguments(resource.function)
        try:
            made = resource(**arguments)
            if isinstance(made, AsyncIterator):
                return await self._stack.enter_async_context(asynccontextmanager(lambda: made)())
            return self._stack.enter_context(contextmanager(lambda: made)())
        except NsqkitError:  # such as a setting out of range: it says what to change
            raise
        except Exception as error:
            raise ResourceError(resource.name, describe(error)) from error

    async def close(self) -> None:
        """Close what was opened, the last one first."""
        await self._stack.aclose()
