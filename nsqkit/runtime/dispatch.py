"""Dispatch: call a handler inside its middleware, and check that it returns an outcome."""

from collections.abc import Callable, Sequence
from typing import Any

from nsqkit.handler.context import Context
from nsqkit.handler.extension import Middleware, Next
from nsqkit.handler.handler import AnyHandler
from nsqkit.policy.outcome import Duplicate, Finish, Outcome
from nsqkit.runtime.call import Caller
from nsqkit.runtime.scope import Scope

_FINISH = Finish()


class Dispatcher:
    """Calls one handler instance.

    Args:
        handler: The handler instance, made with its resources.
        middleware: Layers around each call, outermost first.
        threads: Size of the thread pool for a plain ``def handle``; 1 or more.
        executor_wait: Called with the seconds that each call waited for a thread.
        scope: Opens the resources of each call.
    """

    def __init__(
        self,
        handler: AnyHandler[Any],
        *,
        middleware: Sequence[Middleware] = (),
        threads: int = 1,
        executor_wait: Callable[[float], None] = lambda _: None,
        scope: Scope | None = None,
    ) -> None:
        spec = handler.spec
        scope = scope or Scope()
        self._name = spec.name
        self._caller = Caller(
            scope.inside(handler.handle),
            spec,
            threads=threads,
            executor_wait=executor_wait,
            on_thread_end=scope.on_thread_end,
        )
        self._call = scope.around(wrapped(self._caller.call, middleware))

    has_room = True
    """Whether calls can still start; each slot has its own."""

    async def call(self, event: Any, ctx: Context) -> Outcome | Duplicate:
        """Call the handler and return its outcome, or the outcome that an extension returned instead.

        Raises:
            HandlerTimeoutError: If it ran past ``timeout_s``. A plain handler cannot be interrupted: a late
                return value counts, a late exception becomes this error.
            Exception: Any other error of the handler.
        """
        outcome = await self._call(event, ctx)
        if outcome is None:
            return _FINISH
        return checked(outcome, f"{self._name}.handle")

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


def _layer(layer: Middleware, call_next: Next) -> Next:
    async def call(event: Any, ctx: Context) -> Any:
        return await layer(event, ctx, call_next)

    return call
