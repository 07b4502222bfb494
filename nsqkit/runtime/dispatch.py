"""Dispatch: call a handler inside its middleware, and check that it returns an outcome."""

import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from nsqkit.handler.awaited import as_coroutine
from nsqkit.handler.context import Context
from nsqkit.handler.extension import BatchMiddleware, Middleware, Next
from nsqkit.handler.handler import AnyHandler
from nsqkit.policy.outcome import Duplicate, Finish, Outcome
from nsqkit.runtime.call import Begun, Caller
from nsqkit.runtime.scope import Scope
from nsqkit.runtime.thread_call import ThreadCall
from nsqkit.runtime.unawaited import raise_unawaited

if TYPE_CHECKING:
    from nsqkit.runtime.pool import Pool

_FINISH = Finish()
Call = Coroutine[Any, Any, Any]
GoOn = Callable[[Call, Any, Any], Awaitable[Any]]
BatchNext = Callable[[Any, Any], Awaitable[Any]]
"""Awaits the handler with the deliveries and the call of a batch."""


class Dispatcher:
    """Calls one handler instance.

    Args:
        handler: The handler instance, made with its resources.
        middleware: Layers around each call, outermost first.
        threads: Size of the thread pool for a plain ``def handle``; 1 or more.
        executor_waits: Called with the seconds that calls waited for a thread.
        scope: Opens the resources of each call.
        now_s: Monotonic clock, seconds.

    Attributes:
        pool: The threads for calls that need nothing of the event loop; None if the handler is asynchronous,
            or a middleware or a resource of the loop is around its calls.
        handle: The method that such a thread calls.
        is_late: Returns whether a call in a thread has ended past ``timeout_s``.
        start: Returns the coroutine of a call. Who sends None to it starts the call in the running task, and
            passes what it yields to :meth:`rest`, or what it returns to :meth:`ended`.
        is_plain: Whether ``start`` calls a plain handler instead, and returns what it returned.
    """

    def __init__(
        self,
        handler: AnyHandler[Any],
        *,
        middleware: Sequence[Middleware] = (),
        threads: int = 1,
        executor_waits: Callable[[Sequence[float]], None] = lambda _: None,
        scope: Scope | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        spec = handler.spec
        scope = scope or Scope()
        self._name = spec.name
        handle = as_coroutine(handler.handle) if spec.is_async else handler.handle
        self._caller = Caller(
            scope.inside(handle),
            spec,
            threads=threads,
            executor_waits=executor_waits,
            on_thread_end=scope.on_thread_end,
            now_s=now_s,
        )
        self.handle, self.is_late = self._caller.handle, self._caller.is_late
        self._call = scope.around(wrapped(self._caller.call, middleware))
        self.start: Any = self._call
        self._go_on: GoOn = lambda call, waits_for, _: Begun(call, waits_for)
        self.pool: Pool | None = None
        self.is_plain = False
        if self._call is self._caller.call:
            self.pool = self._caller.pool
            if spec.is_async:
                self.start, self._go_on = handle, self._caller.go_on
            elif spec.run_on_loop:
                self.start, self.is_plain = self.handle, True

    has_room = True
    """Whether calls can still start; each slot has its own."""

    async def call(self, event: Any, ctx: Context) -> Outcome | Duplicate:
        """Call the handler and return its outcome, or the outcome that an extension returned instead.

        Raises:
            HandlerTimeoutError: If it ran past ``timeout_s``. A plain handler cannot be interrupted: a late
                return value counts, a late exception becomes this error.
            Exception: Any other error of the handler.
        """
        return self._checked(await self._call(event, ctx))

    async def rest(self, call: Call, waits_for: Any, ctx: Context) -> Outcome | Duplicate:
        """Continue a call after its first wait, and return its outcome; see :meth:`call`.

        Args:
            call: The coroutine that ``start`` returned.
            waits_for: What it yielded to the event loop.
            ctx: Context of the message.
        """
        return self._checked(await self._go_on(call, waits_for, ctx))

    async def ended(self, returned: Any, ctx: Context) -> Outcome | Duplicate:
        """Return the outcome of a call that has returned without a wait; see :meth:`call`."""
        if inspect.isawaitable(returned):
            returned = await self._caller.awaited(returned, ctx)
        if ctx.unawaited is not None:
            raise_unawaited(ctx)
        return self._checked(returned)

    async def ended_in_thread(self, call: ThreadCall) -> Outcome | Duplicate:
        """Return the outcome of a call that a thread of the pool has ended; see :meth:`call`."""
        returned = self._caller.result(call)
        if inspect.isawaitable(returned):
            returned = await self._caller.awaited(returned, call.args[-1])
        return self._checked(returned)

    def _checked(self, outcome: Any) -> Outcome | Duplicate:
        return _FINISH if outcome is None else checked(outcome, f"{self._name}.handle")

    def in_thread(self, ctx: Context) -> bool:
        """Return whether the message's call runs in a thread, which cannot be cancelled."""
        return self._caller.in_thread(ctx)

    def withhold(self) -> None:
        """Do nothing: a call waits for nothing before it starts."""

    def give_back(self) -> None:
        """Do nothing: a single message never waits for others."""

    def close(self) -> None:
        """Accept no more calls. Running threads are not interrupted."""
        self._caller.close()


def checked(outcome: Any, name: str) -> Outcome | Duplicate:
    """Return the value that a handler or an extension returned if it is an outcome.

    Raises:
        TypeError: If it is not an outcome; the message says what to return.
    """
    if not isinstance(outcome, Outcome | Duplicate):
        raise TypeError(f"{name} returned {outcome!r}; return None or an outcome like Requeue(5)")
    return outcome


def wrapped(innermost: Next, middleware: Sequence[Middleware]) -> Next:
    """Return a call with middleware around it; the first layer is the outermost."""
    call = innermost
    for layer in reversed(middleware):
        call = _layer(layer, call)
    return call


def wrapped_batch(innermost: BatchNext, middleware: Sequence[BatchMiddleware]) -> BatchNext:
    """Return the call of a batch with layers around it; the first layer is the outermost."""
    call = innermost
    for layer in reversed(middleware):
        call = _batch_layer(layer, call)
    return call


def _batch_layer(layer: BatchMiddleware, call_next: BatchNext) -> BatchNext:
    async def call(deliveries: Any, batch: Any) -> Any:
        return await layer(deliveries, lambda inner: call_next(inner, batch))

    return call


def _layer(layer: Middleware, call_next: Next) -> Next:
    async def call(event: Any, ctx: Context) -> Any:
        return await layer(event, ctx, call_next)

    return call
