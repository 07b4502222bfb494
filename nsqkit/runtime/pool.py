"""Pool: threads that run calls for one event loop, and report finished calls in groups."""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from nsqkit.handler.current import without_message
from nsqkit.runtime.thread_call import AwaitedCall, ThreadCall

END_S = 5.0
"""Seconds that ``close`` waits for each idle thread to run ``on_thread_end``."""
GATHERED = 16
"""Number of waiting calls at which a thread is woken without waiting for more calls."""


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
        timeout_s: Seconds from its start after which a call is overdue; infinite for never.
        on_overdue: Called on the loop with each call that is overdue.
        on_waits: Called with the seconds that calls waited for a thread, one or more.
        now_s: Monotonic clock, seconds.

    Attributes:
        loop: The event loop that submits the calls.
        n_calls: Number of calls whose end has not been reported to the loop.
        on_ended: Called on the loop with the calls of each report that no task awaits.
    """

    def __init__(
        self,
        size: int,
        name: str,
        on_thread_end: Callable[[], None] | None = None,
        *,
        timeout_s: float = math.inf,
        on_overdue: Callable[[ThreadCall], None] = lambda _: None,
        on_waits: Callable[[Sequence[float]], None] = lambda _: None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.n_calls = 0
        self.on_ended: Callable[[list[Any]], None] = lambda _: None
        self._timeout_s = timeout_s
        self._on_overdue = on_overdue
        self._on_waits = on_waits
        self._now_s = now_s
        self._timer: asyncio.TimerHandle | None = None
        self._size = size
        self._name = name
        self._on_thread_end = on_thread_end
        self._threads: list[PoolThread] = []
        self._calls: deque[ThreadCall] = deque()
        self._ends: deque[ThreadCall] = deque()
        self._lock = threading.Lock()
        self._idle: list[threading.Lock] = []  # each is the lock that one idle thread waits for
        self._is_gathering = False
        self._is_waking = False  # a thread was woken and has not looked for calls yet
        self._is_reporting = False
        self._is_closed = False

    def submit(self, function: Callable[..., Any], *args: Any) -> AwaitedCall:
        """Submit a function, to be called in a copy of the context.

        Returns:
            The call. Await its ``ended``. Its error is RuntimeError if no thread can be started at all.

        Raises:
            RuntimeError: If the pool is closed.
        """
        call = AwaitedCall(function, args, self._now_s(), self.loop.create_future())
        self.put(call)
        return call

    def put(self, call: ThreadCall) -> None:
        """Submit a call.

        Raises:
            RuntimeError: If the pool is closed.
        """
        if self._is_closed:
            raise RuntimeError(f"the pool of {self._name} is closed")
        self.n_calls += 1
        self._calls.append(call)
        if self._timer is None and self._timeout_s < math.inf:
            self._timer = self.loop.call_later(self._timeout_s, self._look_overdue, context=without_message())
        if not (self._is_gathering or self._is_waking):
            self._is_gathering = True
            self.loop.call_soon(self._gather, len(self._calls))

    def withdraw(self) -> list[ThreadCall]:
        """Take back the calls that no thread has started and no task awaits; the first is the oldest."""
        withdrawn = []
        for call in self._take_all():
            if isinstance(call, AwaitedCall):
                self._calls.append(call)
            else:
                withdrawn.append(call)
        self.n_calls -= len(withdrawn)
        self._gather(len(self._calls))
        return withdrawn

    def close(self) -> None:
        """Accept no more calls and cancel waiting ones. Running threads are not interrupted."""
        with self._lock:
            self._is_closed = True
            while self._idle:
                self._idle.pop().release()
        if self._timer is not None:
            self._timer.cancel()
        dropped = self._take_all()
        self.n_calls -= len(dropped)
        for call in dropped:
            if isinstance(call, AwaitedCall):
                call.ended.cancel()
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
            failed = self._take_all()
            for call in failed:
                call.error = error
            self._resolve(failed)

    def _take_all(self) -> list[ThreadCall]:
        """Take the calls that no thread has started."""
        taken: deque[ThreadCall] = deque()
        with suppress(IndexError):
            while True:  # the last first: a thread that takes one meanwhile takes the first
                taken.appendleft(self._calls.pop())
        return list(taken)

    def _look_overdue(self) -> None:
        """Find the running calls that are overdue; no call can be before it has run for ``timeout_s``."""
        self._timer = None
        now_s = self._now_s()
        due_s = now_s + self._timeout_s
        for call in [thread.call for thread in self._threads]:
            if call is None or call.is_overdue:
                continue
            if call.started_s + self._timeout_s <= now_s:
                call.is_overdue = True
                self._on_overdue(call)
            else:
                due_s = min(due_s, call.started_s + self._timeout_s)
        if self.n_calls:
            self._timer = self.loop.call_later(due_s - now_s, self._look_overdue)

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
                thread.call = call
                call.run(self._now_s)
                self._ends.append(call)
            thread.call = None
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

    def _next_call(self) -> ThreadCall | None:
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
        ended = []
        while self._ends:
            ended.append(self._ends.popleft())
        self._resolve(ended)

    def _resolve(self, ended: Sequence[ThreadCall]) -> None:
        self.n_calls -= len(ended)
        if waits_s := [call.started_s - call.asked_s for call in ended if call.started_s < math.inf]:
            self._on_waits(waits_s)
        group = []
        for call in ended:
            if not isinstance(call, AwaitedCall):
                group.append(call)
            elif not call.ended.done():
                call.ended.set_result(None)
        if group:
            self.on_ended(group)


class PoolThread(threading.Thread):
    """A daemon thread of a pool: the interpreter does not wait for it at its end.

    Attributes:
        call: The call that it runs, or the last one if it looks for the next.
    """

    def __init__(self, pool: Pool, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.pool = pool
        self.is_busy = False
        self.call: ThreadCall | None = None

    def run(self) -> None:
        """Run the pool's calls."""
        self.pool.work(self)
