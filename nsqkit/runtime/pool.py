"""Pool: threads that run calls for one event loop, and report finished calls in groups."""

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

END_S = 5.0
"""Seconds that ``close`` waits for each idle thread to run ``on_thread_end``."""
GATHERED = 16
"""Number of waiting calls at which a thread is woken without waiting for more calls."""


@dataclass(slots=True, eq=False)
class Call:
    """One call and its result; ``started_s`` and ``ended_s`` are on ``time.monotonic``."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    ended: "asyncio.Future[None]"
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    started_s: float = 0.0
    ended_s: float = 0.0
    returned: Any = None
    error: BaseException | None = None

    def run(self) -> None:
        """Call the function, unless its caller was cancelled."""
        if self.ended.cancelled():
            return
        self.started_s = time.monotonic()
        try:
            self.returned = self.context.run(self.function, *self.args)
        except BaseException as error:  # noqa: BLE001 - the waiting task raises it
            self.error = error
        self.ended_s = time.monotonic()


class Pool:
    """Runs calls for the running loop in threads, in the order of their submission.

    Waking a thread or the loop costs more than a short call. So one thread runs call after call while calls
    wait, and delays its reports. This blocks no call and no report: while calls wait and a thread is idle, a
    thread is being woken, and it first reports the calls that have ended.

    Args:
        size: Maximum number of threads, 1 or more; each is started when it is first needed.
        name: Prefix of the thread names; a number follows.
        on_thread_end: Called in each thread before it ends, such as to close connections; None to call
            nothing.

    Attributes:
        loop: The event loop that submits the calls.
        n_calls: Number of calls whose end has not been reported to the loop.
    """

    def __init__(self, size: int, name: str, on_thread_end: Callable[[], None] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.n_calls = 0
        self._size = size
        self._name = name
        self._on_thread_end = on_thread_end
        self._threads: list[PoolThread] = []
        self._calls: deque[Call] = deque()
        self._ends: deque[Call] = deque()
        self._lock = threading.Lock()
        self._idle: list[threading.Lock] = []  # each is the lock that one idle thread waits for
        self._is_gathering = False
        self._is_waking = False  # a thread was woken and has not looked for calls yet
        self._is_reporting = False
        self._is_closed = False

    def submit(self, function: Callable[..., Any], *args: Any) -> Call:
        """Submit a function, to be called in a copy of the context.

        Returns:
            The call. Await its ``ended``, which raises RuntimeError if no thread can be started at all.

        Raises:
            RuntimeError: If the pool is closed.
        """
        if self._is_closed:
            raise RuntimeError(f"the pool of {self._name} is closed")
        call = Call(function, args, self.loop.create_future())
        self.n_calls += 1
        self._calls.append(call)
        if not (self._is_gathering or self._is_waking):
            self._is_gathering = True
            self.loop.call_soon(self._gather, len(self._calls))
        return call

    def close(self) -> None:
        """Accept no more calls and cancel waiting ones. Running threads are not interrupted."""
        with self._lock:
            self._is_closed = True
            while self._idle:
                self._idle.pop().release()
        self._drop_calls()
        if self._on_thread_end is not None:
            for thread in self._threads:
                if not thread.is_busy:
                    thread.join(END_S)

    def _gather(self, n_known: int) -> None:
        """Wake a thread; first wait for more calls while each turn of the loop brings some."""
        n_calls = len(self._calls)
        if n_known < n_calls < GATHERED:
            self.loop.call_soon(self._gather, n_calls)
            return
        self._is_gathering = False
        try:
            self._wake()
        except RuntimeError as error:
            self._drop_calls(error)

    def _drop_calls(self, error: RuntimeError | None = None) -> None:
        with suppress(IndexError):
            while True:
                ended = self._calls.popleft().ended
                self.n_calls -= 1
                if error is None:
                    ended.cancel()
                elif not ended.done():
                    ended.set_exception(error)

    def _wake(self) -> None:
        """Wake an idle thread or start a new one, if calls wait and no thread is being woken."""
        with self._lock:
            if self._is_waking or self._is_closed or not self._calls:
                return
            if self._idle:
                self._is_waking = True
                self._idle.pop().release()
            elif len(self._threads) < self._size:
                self._start()

    def _start(self) -> None:
        self._is_waking = True
        try:
            thread = PoolThread(self, f"{self._name}_{len(self._threads)}")
            thread.start()
            self._threads.append(thread)
        except RuntimeError:  # the system allows no more threads
            self._is_waking = False
            if not self._threads:
                raise

    def work(self, thread: "PoolThread") -> None:
        """Run calls in a thread until the pool is closed."""
        bell = threading.Lock()
        bell.acquire()
        while True:
            self._is_waking = False
            self._report_ends()
            if self._is_closed:
                break
            thread.is_busy = True
            while (call := self._next_call()) is not None:
                call.run()
                self._ends.append(call)
            thread.is_busy = False
            self._wait_idle(bell)
        if self._on_thread_end is not None:
            self._end_thread(self._on_thread_end)

    def _end_thread(self, on_thread_end: Callable[[], None]) -> None:
        try:
            on_thread_end()
        except BaseException as error:  # noqa: BLE001 - the team's code may raise anything
            failed = {
                "message": f"a thread of {self._name} could not close its resources",
                "exception": error,
            }
            with suppress(RuntimeError):  # the loop is closed: there is no handler to report to
                self.loop.call_soon_threadsafe(self.loop.call_exception_handler, failed)

    def _next_call(self) -> Call | None:
        """Return the next call. It may take long, so first wake a thread for others or report ends."""
        try:
            call = self._calls.popleft()
        except IndexError:
            return None
        if self._calls and not self._is_waking:
            self._wake()
        if not self._is_waking:
            self._report_ends()
        return call

    def _wait_idle(self, bell: threading.Lock) -> None:
        """Wait until calls arrive. Report ends once this thread is idle, ready for their callers."""
        with self._lock:
            if self._calls or self._is_closed:
                return
            self._idle.append(bell)
        self._report_ends()
        bell.acquire()

    def _report_ends(self) -> None:
        if self._ends and not self._is_reporting:
            self._is_reporting = True
            with suppress(RuntimeError):  # the loop is closed: no task waits
                self.loop.call_soon_threadsafe(self._resolve_ended)

    def _resolve_ended(self) -> None:
        self._is_reporting = False
        while self._ends:
            ended = self._ends.popleft().ended
            self.n_calls -= 1
            if not ended.done():
                ended.set_result(None)


class PoolThread(threading.Thread):
    """A daemon thread of a pool: the interpreter does not wait for it at its end."""

    def __init__(self, pool: Pool, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.pool = pool
        self.is_busy = False

    def run(self) -> None:
        """Run the pool's calls."""
        self.pool.work(self)
