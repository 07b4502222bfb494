"""Clocks of the harness: time that jumps where nothing else can happen, and time as it is.

The virtual one takes over the running event loop (ADR 0016); neither knows anything of messages.
"""

import asyncio
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Protocol

from nsqkit.runtime.pool import Pool, PoolThread
from nsqkit.testing.errors import HarnessError, NeedsVirtualTimeError

OUTSIDE_WAIT_S = 2.0
"""So long, in real seconds, an answer from a socket or a foreign thread is waited for before time jumps."""
MAX_WAIT_S = 5.0
"""The longest time that is really waited for on a real clock."""


class Clock(Protocol):
    """What a test sees of its clock."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the harness was entered."""

    def advance(self, for_s: float) -> None:
        """Let time pass during the next ``settle``.

        Whatever falls due on the way happens at its time and in its order: retries, timeouts, leases.

        Args:
            for_s: Seconds, 0 or more; several calls add up.

        Raises:
            ValueError: If *for_s* is negative.
            NeedsVirtualTimeError: If the clock is real and would have to be waited for too long.
        """


class VirtualClock:
    """Time on the running event loop that passes only when nothing else can happen.

    As long as anything can run, ``loop.time()`` stands still. When nothing can, it jumps to the next
    timer: ``asyncio.sleep``, ``asyncio.timeout`` and ``loop.call_later`` take no time, in the test and
    in what it tests. Threads and sockets are real and are waited for.

    Args:
        is_busy: Whether anything runs that an answer from outside may let go on.
        outside_wait_s: How long that answer may take before time jumps all the same; real seconds.

    Raises:
        HarnessError: If the loop is not asyncio's own, or has such a clock already.
    """

    def __init__(self, is_busy: Callable[[], bool], *, outside_wait_s: float = OUTSIDE_WAIT_S) -> None:
        loop: Any = asyncio.get_running_loop()
        self._loop = loop
        self._selector: Any = getattr(loop, "_selector", None)  # private, but the same since Python 3.4
        if self._selector is None:
            raise HarnessError(f"virtual time needs asyncio's own event loop, not {type(loop).__qualname__}")
        if "time" in vars(loop):
            raise HarnessError("there is a harness on this event loop already; give it all of the handlers")
        self._poll = self._selector.select
        self._execute = loop.run_in_executor
        self._is_busy = is_busy
        self._outside_wait_s = outside_wait_s
        self._started_s: float = loop.time()
        self._now_s: float = self._started_s
        self._started_ns = time.time_ns()
        self._ahead_s = 0.0
        self._working = 0
        self._workers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._awaited: tuple[Callable[[], bool], asyncio.Future[None]] | None = None

    def start(self) -> None:
        """Take over the loop's time."""
        self._loop.time = self.now_s
        self._loop.run_in_executor = self._run_in_executor
        self._selector.select = self._select

    def stop(self) -> None:
        """Give the loop its own time back; once."""
        del self._loop.time, self._loop.run_in_executor, self._selector.select

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was made."""
        return round(self._now_s - self._started_s, 9)  # jumps add up to exact seconds

    def now_s(self) -> float:
        """Return the loop's time."""
        return self._now_s

    def now_ns(self) -> int:
        """Return the wall clock: nanoseconds since 1970, which pass as the loop's time does."""
        return self._started_ns + round(self.elapsed_s * 1e9)

    def advance(self, for_s: float) -> None:
        """Let time pass during the next :meth:`run_until`; see ``Clock``."""
        self._ahead_s += _positive(for_s)

    async def run_until(self, is_done: Callable[[], bool]) -> None:
        """Return when all time that was asked for has passed, nothing runs, and *is_done* says so.

        It returns all the same when there is no timer left to jump to.

        Args:
            is_done: Asked whenever nothing can run at this moment; where it says no, time jumps.
        """
        # Rounded, so that 59.9 s and 0.1 s are a minute, at whose end a lease of a minute is over.
        until_s = self._started_s + round(self.elapsed_s + self._ahead_s, 9)
        self._ahead_s = 0.0
        arrival = self._loop.call_at(until_s, lambda: None)  # so that no jump leads past it
        done = self._loop.create_future()
        self._awaited = (lambda: self._now_s >= until_s and is_done()), done
        try:
            await done
        finally:
            self._awaited = None
            arrival.cancel()

    def _select(self, timeout: float | None = None) -> Any:
        """Stand in for the selector's ``select``, which the loop calls with 0 unless it has nothing to do."""
        found = self._poll(0)
        if found or timeout == 0:
            return found
        if self._awaited is not None and not self._is_busy():
            is_done, done = self._awaited
            if (timeout is None or is_done()) and not done.done():
                done.set_result(None)
                return found
        elif wait_s := self._outside_s(timeout):
            found = self._poll(None if wait_s == float("inf") else wait_s)
            if found:
                return found
        self._now_s += timeout or 0.0
        return found

    def _outside_s(self, timeout: float | None) -> float:
        """Return for how many real seconds something outside of the loop is waited for."""
        until_timer_s = float("inf") if timeout is None else timeout
        threads = threading.enumerate()
        pooled = [thread for thread in threads if isinstance(thread, PoolThread)]
        if self._working or timeout is None or any(self._is_worked_for(thread.pool) for thread in pooled):
            return until_timer_s
        known = {threading.main_thread(), threading.current_thread(), *self._workers, *pooled}
        alone = len(self._selector.get_map()) == 1 and known.issuperset(threads)
        return 0.0 if alone else min(until_timer_s, self._outside_wait_s)

    def _is_worked_for(self, pool: Pool) -> bool:
        return pool.loop is self._loop and pool.n_calls > 0

    def _run_in_executor(
        self, executor: Executor | None, function: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """Stand in for the loop's own, to know how many threads work for it."""

        def work() -> Any:
            self._workers.add(threading.current_thread())
            return function(*args)

        future: asyncio.Future[Any] = self._execute(executor, work)
        self._working += 1
        future.add_done_callback(self._worked)
        return future

    def _worked(self, _future: "asyncio.Future[Any]") -> None:
        self._working -= 1


class RealClock:
    """Time as it is; it is waited for, but not for long."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()
        self._ahead_s = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._started_s

    def advance(self, for_s: float) -> None:
        """Let time pass during the next :meth:`wait`; see ``Clock``."""
        self._ahead_s += _positive(for_s)
        if self._ahead_s > MAX_WAIT_S:
            raise NeedsVirtualTimeError(
                f"needs the virtual clock: {self._ahead_s:g} s would really have to pass"
            )

    async def wait(self) -> None:
        """Wait for all time that was asked for."""
        ahead_s, self._ahead_s = self._ahead_s, 0.0
        await asyncio.sleep(ahead_s)


def _positive(for_s: float) -> float:
    if not 0 <= for_s < float("inf"):
        raise ValueError(f"advance({for_s!r}): give seconds, 0 or more")
    return for_s
