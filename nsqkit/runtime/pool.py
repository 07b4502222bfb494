"""Pool: threads that run calls for one event loop, and tell it of their ends together."""

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
"""So long a pool that closes waits for what its idle threads do at their end; the rest is left behind."""
GATHERED = 16
"""So many calls at most are gathered before a thread is woken for them."""


@dataclass(slots=True, eq=False)
class Call:
    """One call, and what came of it; ``started_s`` and ``ended_s`` are on ``time.monotonic``."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    ended: "asyncio.Future[None]"
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    started_s: float = 0.0
    ended_s: float = 0.0
    returned: Any = None
    error: BaseException | None = None

    def run(self) -> None:
        """Call the function, unless nobody waits for it any more."""
        if self.ended.cancelled():
            return
        self.started_s = time.monotonic()
        try:
            self.returned = self.context.run(self.function, *self.args)
        except BaseException as error:  # noqa: BLE001 - it is for those who wait for it
            self.error = error
        self.ended_s = time.monotonic()


class Pool:
    """Runs calls for the running loop in threads, in the order in which they were asked for.

    To wake a thread, or the loop, costs more than a short call. So one thread goes on with the next call
    while there are any, and puts off telling of ends. That holds up nothing: while calls wait and a thread is
    free, one is on its way, and first of all it tells of what has ended.

    Args:
        size: Threads at most, 1 or more; each is started when it is first needed.
        name: Of the threads, a number follows.
        on_thread_end: Called by each thread before it ends, as to close its connections; None for nothing.

    Attributes:
        loop: The loop that it works for.
        n_calls: Calls that have not ended, as far as the loop knows.
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
        self._resting: list[threading.Lock] = []  # each is the bell that one thread waits for
        self._is_gathering = False
        self._is_waking = False  # a thread is on its way that has not looked for calls yet
        self._is_telling = False
        self._is_closed = False

    def submit(self, function: Callable[..., Any], *args: Any) -> Call:
        """Have a function called, in a copy of the context; its ``ended`` fails if there is no thread at all.

        Raises:
            RuntimeError: If it is closed.
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
        """Take no more calls and cancel those that have not begun; a thread that still runs is left alone."""
        with self._lock:
            self._is_closed = True
            while self._resting:
                self._resting.pop().release()
        self._give_up()
        if self._on_thread_end is not None:
            for thread in self._threads:
                if not thread.is_busy:
                    thread.join(END_S)

    def _gather(self, n_known: int) -> None:
        """Wake a thread, unless the last turn of the loop brought a call, and the next may bring another."""
        n_calls = len(self._calls)
        if n_known < n_calls < GATHERED:
            self.loop.call_soon(self._gather, n_calls)
            return
        self._is_gathering = False
        try:
            self._wake()
        except RuntimeError as error:
            self._give_up(error)

    def _give_up(self, error: RuntimeError | None = None) -> None:
        with suppress(IndexError):
            while True:
                ended = self._calls.popleft().ended
                self.n_calls -= 1
                if error is None:
                    ended.cancel()
                elif not ended.done():
                    ended.set_exception(error)

    def _wake(self) -> None:
        """See that a thread is on its way if calls wait and one is free."""
        with self._lock:
            if self._is_waking or self._is_closed or not self._calls:
                return
            if self._resting:
                self._is_waking = True
                self._resting.pop().release()
            elif len(self._threads) < self._size:
                self._start()

    def _start(self) -> None:
        self._is_waking = True
        try:
            thread = PoolThread(self, f"{self._name}_{len(self._threads)}")
            thread.start()
            self._threads.append(thread)
        except RuntimeError:  # the system has no more
            self._is_waking = False
            if not self._threads:
                raise

    def work(self, thread: "PoolThread") -> None:
        """Run calls in a thread until it is closed."""
        bell = threading.Lock()
        bell.acquire()
        while True:
            self._is_waking = False
            self._tell()
            if self._is_closed:
                break
            thread.is_busy = True
            while (call := self._take()) is not None:
                call.run()
                self._ends.append(call)
            thread.is_busy = False
            self._rest(bell)
        if self._on_thread_end is not None:
            self._end_thread(self._on_thread_end)

    def _end_thread(self, on_thread_end: Callable[[], None]) -> None:
        try:
            on_thread_end()
        except BaseException as error:  # noqa: BLE001 - a team's code may raise anything
            failed = {
                "message": f"a thread of {self._name} could not close its resources",
                "exception": error,
            }
            with suppress(RuntimeError):  # the loop is closed, and nobody hears it
                self.loop.call_soon_threadsafe(self.loop.call_exception_handler, failed)

    def _take(self) -> Call | None:
        """Return the next call. It may take long: others are seen to before."""
        try:
            call = self._calls.popleft()
        except IndexError:
            return None
        if self._calls and not self._is_waking:
            self._wake()
        if not self._is_waking:
            self._tell()
        return call

    def _rest(self, bell: threading.Lock) -> None:
        """Wait for the bell. Who is told of an end finds this thread free already for the next call."""
        with self._lock:
            if self._calls or self._is_closed:
                return
            self._resting.append(bell)
        self._tell()
        bell.acquire()

    def _tell(self) -> None:
        if self._ends and not self._is_telling:
            self._is_telling = True
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_telling = False
        while self._ends:
            ended = self._ends.popleft().ended
            self.n_calls -= 1
            if not ended.done():
                ended.set_result(None)


class PoolThread(threading.Thread):
    """A thread of a pool, and which; the interpreter ends without waiting for it."""

    def __init__(self, pool: Pool, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.pool = pool
        self.is_busy = False

    def run(self) -> None:
        """Run the pool's calls."""
        self.pool.work(self)
