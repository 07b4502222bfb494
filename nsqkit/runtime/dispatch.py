"""Dispatch: call a handler with its middleware, on the loop or in a thread, within its timeout."""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from nsqkit.context import Context, Middleware, Next
from nsqkit.handler import Handler, HandlerSpec
from nsqkit.policy.errors import HandlerTimeoutError
from nsqkit.policy.outcome import DeadLetter, Discard, Finish, Outcome, Pause, Requeue

_OUTCOMES = (Finish, Requeue, DeadLetter, Discard, Pause)


class Dispatcher:
    """Calls one handler instance.

    Args:
        handler: The instance, its resources given.
        middleware: The outermost first.
        threads: Size of the pool for a plain ``def handle``; 1 or more.
        executor_wait: Told how many seconds each call waited for a thread.
    """

    def __init__(
        self,
        handler: Handler[Any],
        *,
        middleware: Sequence[Middleware] = (),
        threads: int = 1,
        executor_wait: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._handle = handler.handle
        self._spec = handler.spec
        self._executor_wait = executor_wait
        self._executor: ThreadPoolExecutor | None = None
        self._threads: set[Context] = set()
        if not (self._spec.is_async or self._spec.run_on_loop):
            self._executor = ThreadPoolExecutor(threads, thread_name_prefix=self._spec.name)
        self._call = _wrapped(self._innermost(self._spec), middleware)

    async def call(self, event: Any, ctx: Context) -> Outcome:
        """Return the handler's outcome.

        Raises:
            HandlerTimeoutError: If it ran past ``timeout_s``. A plain handler cannot be
                interrupted: what it returns counts, however late; what it raises late is this.
            Exception: What the handler raised.
        """
        outcome = await self._call(event, ctx)
        if outcome is None:
            return Finish()
        if not isinstance(outcome, _OUTCOMES):
            raise TypeError(
                f"{self._spec.name}.handle returned {outcome!r}; return None or an outcome like Requeue(5)",
            )
        return outcome

    @property
    def in_threads(self) -> int:
        """How many calls are in a thread, or wait for one."""
        return len(self._threads)

    def in_thread(self, ctx: Context) -> bool:
        """Return whether this call is in a thread, where it cannot be cancelled."""
        return ctx in self._threads

    def close(self) -> None:
        """Take no more calls; a thread that still runs is left alone."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _innermost(self, spec: HandlerSpec) -> Next:
        if spec.is_async:
            return self._on_loop_async
        return self._on_loop_plain if spec.run_on_loop else self._in_thread

    async def _on_loop_async(self, event: Any, ctx: Context) -> Outcome | None:
        try:
            async with asyncio.timeout(self._spec.timeout_s) as limit:
                return await cast("Awaitable[Outcome | None]", self._handle(event, ctx))
        except TimeoutError:
            if limit.expired():
                raise HandlerTimeoutError(self._spec.timeout_s) from None
            raise

    async def _on_loop_plain(self, event: Any, ctx: Context) -> Outcome | None:
        return cast("Outcome | None", self._handle(event, ctx))

    async def _in_thread(self, event: Any, ctx: Context) -> Outcome | None:
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        asked_s = time.monotonic()
        limit = loop.call_later(self._spec.timeout_s, setattr, ctx, "cancelled", True)  # noqa: FBT003
        self._threads.add(ctx)
        try:
            started_s, ended_s, outcome = await loop.run_in_executor(
                self._executor,
                lambda: context.run(_timed, self._handle, event, ctx),
            )
        finally:
            limit.cancel()
            self._threads.discard(ctx)
        self._executor_wait(started_s - asked_s)
        if not isinstance(outcome, BaseException):
            return cast("Outcome | None", outcome)
        if (
            ended_s - asked_s > self._spec.timeout_s
        ):  # counted as the timer above counts, or they could differ
            raise HandlerTimeoutError(self._spec.timeout_s) from outcome
        raise outcome


def _wrapped(innermost: Next, middleware: Sequence[Middleware]) -> Next:
    call = innermost
    for layer in reversed(middleware):
        call = _layer(layer, call)
    return call


def _layer(layer: Middleware, call_next: Next) -> Next:
    async def call(event: Any, ctx: Context) -> Outcome | None:
        return await layer(event, ctx, call_next)

    return call


def _timed(handle: Callable[..., Any], event: Any, ctx: Context) -> tuple[float, float, Any]:
    started_s = time.monotonic()
    try:
        outcome = handle(event, ctx)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is raised again on the loop
        outcome = error
    return started_s, time.monotonic(), outcome
