"""Call: run a handler's method on the loop or in a thread, within its timeout."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from types import CodeType
from typing import Any, Protocol, Self, cast

from nsqkit.errors import HandlerTimeoutError
from nsqkit.handler.awaited import as_coroutine
from nsqkit.handler.origin import waits_at
from nsqkit.handler.spec import HandlerSpec
from nsqkit.runtime.deadlines import Deadlines
from nsqkit.runtime.pool import Pool
from nsqkit.runtime.thread_call import ThreadCall
from nsqkit.runtime.unawaited import Blamed, Finds, raise_unawaited, watch

AGAIN_S = 1.0
"""Seconds that a cancelled coroutine gets to end before it is cancelled again; each time twice as long."""
BLOCKED_S = 0.5
"""A timeout that is this late, in seconds, was delayed by a blocked event loop; the call gets more time."""
MOST_CANCELS = 4
"""How often a coroutine is cancelled after its timeout, before it is left alone."""


class Cancellable(Blamed, Protocol):
    """The second argument of a call.

    Attributes:
        cancelled: Set when the call runs in a thread past its timeout.
    """

    cancelled: bool

    def overrun(self, timeout_s: float) -> None:
        """Note that the call returned after its timeout."""

    def stuck(self, at: str) -> None:
        """Note that the call goes on although it was cancelled several times."""


class Caller:
    """Calls one handler method with two arguments; sets ``cancelled`` of the second one at the timeout.

    Args:
        handle: The method; a coroutine function if the handler is asynchronous.
        spec: Declaration of the handler: its timeout and how it runs.
        threads: Size of the thread pool for a plain ``def handle``; 1 or more.
        executor_waits: Called with the seconds that calls waited for a thread.
        on_thread_end: Called in each thread before it ends; None to call nothing.
        now_s: Monotonic clock, seconds.

    Attributes:
        handle: The method.
        pool: The threads of a plain method; None if it runs on the loop.
        call: Awaits the method and returns its value. After ``timeout_s`` a coroutine is cancelled and
            ``HandlerTimeoutError`` is raised; one that goes on is cancelled up to ``MOST_CANCELS`` times,
            and then ``stuck`` of the argument is called. A plain method cannot be interrupted. A late return
            value counts, after ``overrun`` of the argument; a late exception becomes
            ``HandlerTimeoutError``.
    """

    def __init__(
        self,
        handle: Callable[[Any, Any], Any],
        spec: HandlerSpec,
        *,
        threads: int,
        executor_waits: Callable[[Sequence[float]], None],
        on_thread_end: Callable[[], None] | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.handle = handle
        self.pool: Pool | None = None
        self._timeout_s = spec.timeout_s
        self._threads: set[Cancellable] = set()
        self._limits = Deadlines(spec.timeout_s, _Limit.cancel)
        watch(spec.handler.__module__, _CALLS)
        self.call: Callable[[Any, Any], Awaitable[Any]] = self._on_loop_async
        if spec.run_on_loop:
            self.call = self._on_loop_plain
        elif not spec.is_async:
            self.pool = Pool(
                threads,
                spec.name,
                on_thread_end,
                timeout_s=spec.timeout_s,
                on_overdue=_mark,
                on_waits=executor_waits,
                now_s=now_s,
            )
            self.call = partial(self._in_thread, self.pool)

    def in_thread(self, argument: Cancellable) -> bool:
        """Return whether a call runs in a thread, which cannot be cancelled."""
        return argument in self._threads

    def close(self) -> None:
        """Accept no more calls. Running threads are not interrupted."""
        self._limits.close()
        if self.pool is not None:
            self.pool.close()

    async def _on_loop_async(self, what: Any, argument: Cancellable) -> Any:
        call: Coroutine[Any, Any, Any] = self.handle(what, argument)
        try:
            waits_for = call.send(None)
        except StopIteration as returned:  # it never waited, so it needs no timer
            value = returned.value
        else:
            return await self.go_on(call, waits_for, argument)
        if argument.unawaited is not None:
            raise_unawaited(argument)
        return value

    async def go_on(self, call: Coroutine[Any, Any, Any], waits_for: Any, argument: Cancellable) -> Any:
        """Continue a coroutine of an asynchronous method after its first wait; see ``call``."""
        with _Limit(self._timeout_s, self._limits, lambda: argument.stuck(waits_at(call))) as limit:
            value = await Begun(call, waits_for)
        if limit.n_cancels:  # it has swallowed its cancellation
            argument.overrun(self._timeout_s)
        if argument.unawaited is not None:
            raise_unawaited(argument)
        return value

    async def _on_loop_plain(self, what: Any, argument: Cancellable) -> Any:
        value = self.handle(what, argument)
        if value is not None and inspect.isawaitable(value):
            value = await value
        if argument.unawaited is not None:
            raise_unawaited(argument)
        return value

    async def _in_thread(self, pool: Pool, what: Any, argument: Cancellable) -> Any:
        self._threads.add(argument)
        try:
            call = pool.submit(self.handle, what, argument)
            await call.ended
        finally:
            self._threads.discard(argument)
        returned = self.result(call)
        return await self.awaited(returned, argument) if inspect.isawaitable(returned) else returned

    async def awaited(self, returned: Awaitable[Any], argument: Cancellable) -> Any:
        """Await what a plain method has returned, within a timeout of its own; see ``call``."""
        call = as_coroutine(lambda: returned)()
        try:
            waits_for = call.send(None)
        except StopIteration as end:
            return end.value
        return await self.go_on(call, waits_for, argument)

    def is_late(self, call: ThreadCall) -> bool:
        """Return whether a call in a thread has ended past its timeout."""
        return call.is_overdue or call.ended_s - call.started_s > self._timeout_s

    def result(self, call: ThreadCall) -> Any:
        """Return what a call in a thread has returned, or raise its error; see ``call``."""
        argument: Cancellable = call.args[-1]
        is_late = self.is_late(call)
        if call.error is None:
            if is_late:
                argument.overrun(self._timeout_s)
            if argument.unawaited is not None:
                raise_unawaited(argument)
            return call.returned
        try:
            if is_late:
                raise HandlerTimeoutError(self._timeout_s) from call.error
            raise call.error
        finally:
            call.error = None  # its traceback refers to the call: break the reference cycle


def _mark(call: ThreadCall) -> None:
    call.args[-1].cancelled = True


_CALLS: Mapping[CodeType, Finds] = {
    Caller._on_loop_async.__code__: itemgetter("argument"),  # noqa: SLF001 - of this module
    Caller.go_on.__code__: itemgetter("argument"),
    Caller._on_loop_plain.__code__: itemgetter("argument"),  # noqa: SLF001
    ThreadCall.run.__code__: lambda names: names["self"].args[-1],
}
"""Where ``unawaited`` finds the second argument of the running call."""


class _Limit:
    """The time limit of the running task's call: cancels it, and again while it goes on.

    Args:
        timeout_s: Seconds until the first cancellation, which makes the call fail with HandlerTimeoutError.
        limits: Calls :meth:`cancel` after that time.
        on_stuck: Called when the call has ignored every cancellation.

    Attributes:
        n_cancels: Number of cancellations so far.
    """

    __slots__ = (
        "_cancelling",
        "_due_s",
        "_limits",
        "_on_stuck",
        "_task",
        "_timeout_s",
        "_timer",
        "n_cancels",
    )

    def __init__(self, timeout_s: float, limits: "Deadlines[_Limit]", on_stuck: Callable[[], None]) -> None:
        self._timeout_s = timeout_s
        self._limits = limits
        self._on_stuck = on_stuck
        self._timer: asyncio.TimerHandle | None = None
        self.n_cancels = 0

    def __enter__(self) -> Self:
        self._task = task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._cancelling = task.cancelling()
        self._due_s = self._limits.add(self)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._limits.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        for _ in range(self.n_cancels):
            self._task.uncancel()
        is_late = isinstance(error, TimeoutError | asyncio.CancelledError)
        if isinstance(error, asyncio.CancelledError) and self._task.cancelling() > self._cancelling:
            is_late = False  # it was cancelled by others, too
        if is_late and self.n_cancels:
            raise HandlerTimeoutError(self._timeout_s) from None

    def cancel(self) -> None:
        """Cancel the call, unless it may only wait for an answer that a blocked loop has not read yet."""
        if self.n_cancels == MOST_CANCELS:
            self._on_stuck()
            return
        loop = self._task.get_loop()
        late_s = loop.time() - self._due_s
        if late_s > BLOCKED_S and not self.n_cancels:
            self._due_s = loop.time() + min(late_s, self._timeout_s)
            self._timer = loop.call_at(self._due_s, self.cancel)
            return
        self._timer = loop.call_later(AGAIN_S * 2**self.n_cancels, self.cancel)
        self.n_cancels += 1
        self._task.cancel()


class Begun:
    """A coroutine that has run up to its first ``await``; awaiting this object continues it.

    Args:
        call: The coroutine.
        waits_for: The future that it yielded to the event loop; None for a bare yield.
    """

    __slots__ = ("_call", "_waits_for")

    def __init__(self, call: Coroutine[Any, Any, Any], waits_for: Any) -> None:
        self._call = call
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        waits_for = self._waits_for
        try:
            while True:
                try:
                    sent = yield waits_for
                except GeneratorExit:
                    self._call.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - the coroutine handles it
                    waits_for = self._call.throw(error)
                else:
                    waits_for = self._call.send(sent)
        except StopIteration as returned:
            return returned.value
