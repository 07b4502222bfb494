"""Call: run a handler's method on the loop or in a thread, within its timeout."""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from nsqkit.handler import HandlerSpec
from nsqkit.policy.errors import HandlerTimeoutError


class Told(Protocol):
    """Who is told when a call in a thread has run past its timeout."""

    cancelled: bool


class Caller:
    """Calls one method with two arguments, of which the second is told of its timeout.

    Args:
        handle: The method; a coroutine function if the handler is asynchronous.
        spec: The handler.
        threads: Size of the pool for a plain ``def handle``; 1 or more.
        executor_wait: Told how many seconds each call waited for a thread.

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
    ) -> None:
        self._handle = handle
        self._timeout_s = spec.timeout_s
        self._executor_wait = executor_wait
        self._executor: ThreadPoolExecutor | None = None
        self._threads: set[Told] = set()
        self.call: Callable[[Any, Any], Awaitable[Any]] = self._on_loop_async
        if not spec.is_async:
            self.call = self._on_loop_plain if spec.run_on_loop else self._in_thread
        if not (spec.is_async or spec.run_on_loop):
            self._executor = ThreadPoolExecutor(threads, thread_name_prefix=spec.name)

    def in_thread(self, told: Told) -> bool:
        """Return whether a call is in a thread, where it cannot be cancelled."""
        return told in self._threads

    def close(self) -> None:
        """Take no more calls; a thread that still runs is left alone."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    async def _on_loop_async(self, what: Any, told: Told) -> Any:
        call: Coroutine[Any, Any, Any] = self._handle(what, told)
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

    async def _on_loop_plain(self, what: Any, told: Told) -> Any:
        return self._handle(what, told)

    async def _in_thread(self, what: Any, told: Told) -> Any:
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        asked_s = time.monotonic()
        limit = loop.call_later(self._timeout_s, setattr, told, "cancelled", True)  # noqa: FBT003
        self._threads.add(told)
        try:
            started_s, ended_s, outcome = await loop.run_in_executor(
                self._executor,
                lambda: context.run(_timed, self._handle, what, told),
            )
        finally:
            limit.cancel()
            self._threads.discard(told)
        self._executor_wait(started_s - asked_s)
        if not isinstance(outcome, BaseException):
            return outcome
        if ended_s - asked_s > self._timeout_s:  # counted as the timer above counts, or they could differ
            raise HandlerTimeoutError(self._timeout_s) from outcome
        raise outcome


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


def _timed(handle: Callable[..., Any], what: Any, told: Told) -> tuple[float, float, Any]:
    started_s = time.monotonic()
    try:
        outcome = handle(what, told)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is raised again on the loop
        outcome = error
    return started_s, time.monotonic(), outcome
