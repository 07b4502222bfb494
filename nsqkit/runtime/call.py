"""Call: run a handler's method on the loop or in a thread, within its timeout."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, Protocol

from nsqkit.errors import HandlerTimeoutError
from nsqkit.handler.spec import HandlerSpec
from nsqkit.runtime.pool import Pool


class Cancellable(Protocol):
    """What is marked when a call in a thread has run past its timeout."""

    cancelled: bool


class Caller:
    """Calls one method with two arguments, of which the second is marked as cancelled at its timeout.

    Args:
        handle: The method; a coroutine function if the handler is asynchronous.
        spec: The handler.
        threads: Size of the pool for a plain ``def handle``; 1 or more.
        executor_wait: Receives how many seconds each call waited for a thread.
        on_thread_end: Called by each thread before it ends; None for nothing.

    Attributes:
        call: Returns what the method returns. Past ``timeout_s`` a coroutine is cancelled and
            ``HandlerTimeoutError`` is raised. A plain method cannot be interrupted: what it returns counts,
            however late; what it raises late is this error.
    """

    def __init__(
        self,
        handle: Callable[[Any, Any], Any],
        spec: HandlerSpec,
        *,
        threads: int,
        executor_wait: Callable[[float], None],
        on_thread_end: Callable[[], None] | None = None,
    ) -> None:
        self._handle = handle
        self._timeout_s = spec.timeout_s
        self._executor_wait = executor_wait
        self._executor: Pool | None = None
        self._threads: set[Cancellable] = set()
        self._due: dict[Cancellable, float] = {}  # when each of them is cancelled; the earliest comes first
        self._timer: asyncio.TimerHandle | None = None
        self.call: Callable[[Any, Any], Awaitable[Any]] = self._on_loop_async
        if spec.run_on_loop:
            self.call = self._on_loop_plain
        elif not spec.is_async:
            self._executor = Pool(threads, spec.name, on_thread_end)
            self.call = partial(self._in_thread, self._executor)

    def in_thread(self, argument: Cancellable) -> bool:
        """Return whether a call is in a thread, where it cannot be cancelled."""
        return argument in self._threads

    def close(self) -> None:
        """Take no more calls; a thread that still runs is left alone."""
        if self._executor is not None:
            self._executor.close()

    async def _on_loop_async(self, what: Any, argument: Cancellable) -> Any:
        call: Coroutine[Any, Any, Any] = self._handle(what, argument)
        try:
            waits_for = call.send(None)
        except StopIteration as returned:  # without waiting once: no timer is needed
            return returned.value
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                return await _Begun(call, waits_for)
        except TimeoutError:
            if limit.expired():
                raise HandlerTimeoutError(self._timeout_s) from None
            raise

    async def _on_loop_plain(self, what: Any, argument: Cancellable) -> Any:
        return self._handle(what, argument)

    async def _in_thread(self, pool: Pool, what: Any, argument: Cancellable) -> Any:
        asked_s = time.monotonic()
        self._watch(argument)
        try:
            call = pool.submit(self._handle, what, argument)
            await call.ended
        finally:
            self._unwatch(argument)
        self._executor_wait(call.started_s - asked_s)
        if call.error is None:
            return call.returned
        try:
            if call.ended_s - asked_s > self._timeout_s:  # counted as the timer counts, or they could differ
                raise HandlerTimeoutError(self._timeout_s) from call.error
            raise call.error
        finally:
            call.error = None  # its traceback leads back to the call: a circle

    def _watch(self, argument: Cancellable) -> None:
        """Mark a call at its timeout; one timer serves all, since they are due in the order they came."""
        loop = asyncio.get_running_loop()
        self._threads.add(argument)
        self._due[argument] = due_s = loop.time() + self._timeout_s
        if self._timer is None:
            self._timer = loop.call_at(due_s, self._cancel_overdue, due_s)

    def _unwatch(self, argument: Cancellable) -> None:
        self._threads.discard(argument)
        self._due.pop(argument, None)
        if not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel_overdue(self, now_s: float) -> None:
        self._timer = None
        while self._due:
            argument, due_s = next(iter(self._due.items()))
            if due_s > now_s:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_at(due_s, self._cancel_overdue, due_s)
                return
            del self._due[argument]
            argument.cancelled = True


class _Begun:
    """A coroutine that has run up to its first wait, to be awaited from there.

    Args:
        call: The coroutine.
        waits_for: What it has yielded to the event loop.
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
                except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
                    waits_for = self._call.throw(error)
                else:
                    waits_for = self._call.send(sent)
        except StopIteration as returned:
            return returned.value
