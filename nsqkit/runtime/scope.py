"""Scope: open a handler's per-message resources before its call, and close them with the verdict."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

from nsqkit.errors import HandlerTimeoutError
from nsqkit.handler.context import CLOSED
from nsqkit.handler.resources import Resource
from nsqkit.policy.verdict import SUCCESS, Verdict
from nsqkit.runtime.failure import raise_all
from nsqkit.runtime.unawaited import Blamed, raise_unawaited

Values = dict[Resource[Any], Any]
Call = Callable[[Any, Any], Awaitable[Any]]
PlainCall = Callable[[Any, Any], Any]
VerdictOf = Callable[[Any, Any], Verdict]
"""Returns the verdict on a call from its return value and its second argument."""


def succeeded(_returned: Any, _argument: Any) -> Verdict:
    """Return success: the verdict on a batch call that returned, whatever the outcomes of its messages."""
    return SUCCESS


class Scoped(Blamed, Protocol):
    """The second argument of a call, a Context or a batch call; ``resources`` are open during the call."""

    resources: Mapping[Resource[Any], Any] | None


@dataclass(frozen=True, slots=True)
class Opening:
    """How to open one resource.

    Args:
        resource: The per-message or per-thread resource to open.
        arguments: Settings and per-worker resources that it needs, by parameter name.
        needs: Resources of the same scope that it needs, by parameter name.
    """

    resource: Resource[Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, Resource[Any]] = field(default_factory=dict)

    def begin(self, values: Mapping[Resource[Any], Any]) -> Any:
        """Call the generator function, and return the generator that yields the resource."""
        needed = {name: values[resource] for name, resource in self.needs.items()}
        return self.resource(**self.arguments, **needed)


class Scope:
    """The per-message and per-thread resources of one handler.

    Args:
        openings: The resources to open, each after the ones that it needs.
        is_threaded: Whether the handler runs in threads; plain resources are then opened in its thread.
        timeout_s: Maximum time to open, and to close, one resource on the event loop, seconds; infinite for
            no limit.
        verdict_of: Returns the verdict that the resources receive at their ``yield``.
    """

    def __init__(
        self,
        openings: Sequence[Opening] = (),
        *,
        is_threaded: bool = False,
        timeout_s: float = 30.0,
        verdict_of: VerdictOf = succeeded,
    ) -> None:
        self._verdict_of = verdict_of
        self._timeout_s = timeout_s
        self._on_loop = [each for each in openings if each.resource.is_async or not is_threaded]
        self._in_call = [
            each for each in openings if each not in self._on_loop and each.resource.per == "message"
        ]
        per_thread = [each for each in openings if each.resource.per == "thread"]
        self._thread = ThreadScope(per_thread) if per_thread else None

    @property
    def on_thread_end(self) -> Callable[[], None] | None:
        """Function for a handler thread to call before it ends; None if there is nothing to close."""
        return self._thread.close if self._thread else None

    def around(self, call: Call) -> Call:
        """Wrap a call to open and close the resources of the event loop around it, if there are any."""
        if not self._on_loop:
            return call

        async def scoped(what: Any, argument: Scoped) -> Any:
            values: Values = {}
            try:
                async with AsyncExitStack() as stack:
                    opened = [await self._opened(each, values, stack) for each in self._on_loop]
                    argument.resources = values
                    returned = await call(what, argument)
                    verdict = self._verdict_of(returned, argument)
                    for each in opened:
                        each.verdict = verdict
                return returned
            finally:
                argument.resources = CLOSED

        return scoped

    def inside(self, call: PlainCall) -> PlainCall:
        """Wrap a plain call to open and close the resources of its thread around it, if there are any."""
        if not self._in_call and self._thread is None:
            return call

        def scoped(what: Any, argument: Scoped) -> Any:
            outer = argument.resources
            values: Values = {**(outer or {}), **(self._thread.values() if self._thread else {})}
            try:
                with ExitStack() as stack:
                    opened = []
                    for each in self._in_call:
                        opened.append(_OpenPlain(each, values))
                        values[each.resource] = stack.enter_context(opened[-1])
                    argument.resources = values
                    returned = call(what, argument)
                    if argument.unawaited is not None:
                        raise_unawaited(argument)
                    verdict = self._verdict_of(returned, argument)
                    for each_opened in opened:
                        each_opened.verdict = verdict
                return returned
            finally:
                if argument.resources is not CLOSED:  # else the loop has ended before this thread
                    argument.resources = outer or CLOSED

        return scoped

    async def _opened(self, opening: Opening, values: Values, stack: AsyncExitStack) -> "_OpenOnLoop":
        opened = _OpenOnLoop(opening, values, self._timeout_s)
        values[opening.resource] = await stack.enter_async_context(opened)
        return opened


class ThreadScope:
    """The per-thread resources of plain handlers: opened at a thread's first call, closed at its end.

    Args:
        openings: The per-thread resources, each after the ones that it needs.
    """

    def __init__(self, openings: Sequence[Opening]) -> None:
        self._openings = openings
        self._local = threading.local()

    def values(self) -> Values:
        """Return the resources of the calling thread; open them at the first call."""
        if not hasattr(self._local, "values"):
            values: Values = {}
            opened_ones = []
            with ExitStack() as stack:
                for each in self._openings:
                    opened_ones.append(_OpenPlain(each, values))
                    values[each.resource] = stack.enter_context(opened_ones[-1])
                stack.pop_all()
            self._local.opened = opened_ones
            self._local.values = values
        opened: Values = self._local.values
        return opened

    def close(self) -> None:
        """Close the resources of the calling thread, each of them whatever the others raise.

        Raises:
            Exception: The error of a resource; of several, an ``ExceptionGroup`` of their errors.
        """
        errors: list[BaseException] = []
        for opened in reversed(getattr(self._local, "opened", ())):
            try:
                opened.__exit__(None, None, None)
            except BaseException as error:  # noqa: BLE001 - it is raised once all are closed
                errors.append(error)
        raise_all(errors)


class _Open:
    """One open resource.

    Attributes:
        verdict: Value of its ``yield``; None until the call has returned.
    """

    def __init__(self, opening: Opening, values: Mapping[Resource[Any], Any]) -> None:
        self.verdict: Verdict | None = None
        self._name = opening.resource.name
        self._generator = opening.begin(values)

    def _yielded_again(self) -> RuntimeError:
        return RuntimeError(f"resource {self._name} yields more than once; yield once")


class _OpenPlain(_Open, AbstractContextManager[Any]):
    def __enter__(self) -> Any:
        generator: Iterator[Any] = self._generator
        return next(generator)

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._generator.send(self.verdict)
            else:
                self._generator.throw(error)
        except StopIteration:
            return
        except BaseException as raised:
            if raised is not error:
                raise
            raised.__traceback__ = trace  # show where the handler raised it, not the yield
            return
        raise self._yielded_again()


class _OpenOnLoop(_Open, AbstractAsyncContextManager[Any]):
    def __init__(self, opening: Opening, values: Mapping[Resource[Any], Any], timeout_s: float) -> None:
        super().__init__(opening, values)
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Any:
        return await self._in_time(self._begin())

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._in_time(self._end(error))
        if error is not None:
            error.__traceback__ = trace  # show where the handler raised it, not the yield

    async def _begin(self) -> Any:
        if isinstance(self._generator, AsyncIterator):
            return await anext(self._generator)
        return next(self._generator)

    async def _end(self, error: BaseException | None) -> None:
        generator = self._generator
        is_async = isinstance(generator, AsyncIterator)
        try:
            if error is None:
                await generator.asend(self.verdict) if is_async else generator.send(self.verdict)
            else:
                await generator.athrow(error) if is_async else generator.throw(error)
        except (StopIteration, StopAsyncIteration):
            return
        except BaseException as raised:
            if raised is not error:
                raise
            return
        raise self._yielded_again()

    async def _in_time(self, step: Any) -> Any:
        if self._timeout_s == float("inf"):
            return await step
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                return await step
        except TimeoutError:
            if limit.expired():
                raise HandlerTimeoutError(self._timeout_s) from None
            raise
