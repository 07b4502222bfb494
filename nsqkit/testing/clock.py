"""The clocks of the harness: virtual time, which jumps when nothing else can happen, and real time.

The virtual clock takes over the running event loop (ADR 0016). Neither clock knows messages.
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
"""How long to wait for a socket or another thread before time jumps, in real seconds."""
MAX_WAIT_S = 5.0
"""The longest time that the harness waits on a real clock, in seconds."""


class Clock(Protocol):
    """The clock that a test sees."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the harness was entered."""

    def advance(self, for_s: float) -> None:
        """Let time pass during the next ``settle``.

        Retries, timeouts and leases that become due meanwhile happen at their time and in their order.

        Args:
            for_s: Seconds, 0 or more; several calls add up.

        Raises:
            ValueError: If *for_s* is negative.
            NeedsVirtualTimeError: If the clock is real and the wait would be too long.
        """


class VirtualClock:
    """Time on the running event loop that passes only when nothing else can happen.

    While anything can run, ``loop.time()`` does not move. When nothing can, it jumps to the next
    timer: ``asyncio.sleep``, ``asyncio.timeout`` and ``loop.call_later`` take no time, in the test and
    in the code under test. Threads and sockets are real, so the clock waits for them.

    Args:
        is_busy: Returns whether anything runs that may be waiting for a socket or a thread.
        outside_wait_s: Real seconds that such a wait may take before time jumps anyway.

    Raises:
        HarnessError: If the loop is not asyncio's own, or already has such a clock.
    """

    def __init__(self, is_busy: Callable[[], bool], *, outside_wait_s: float = OUTSIDE_WAIT_S) -> None:
        loop: Any = asyncio.get_running_loop()
        self._loop = loop
        self._selector: Any = getattr(loop, "_selector", None)  # private, but the same since Python 3.4
        if self._selector is None:
            raise HarnessError(f"virtual time needs asyncio's own event loop, not {type(loop).__qualname__}")
        if "time" in vars(loop):
            raise HarnessError("this event loop already has a harness; give all handlers to that one")
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
        """Give the loop its own time back; call it once."""
        del self._loop.time, self._loop.run_in_executor, self._selector.select

    @property
    def elapsed_s(self) -> float:
        """Seconds since the clock was created."""
        return round(self._now_s - self._started_s, 9)  # jumps add up to exact seconds

    def now_s(self) -> float:
        """Return the loop's time."""
        return self._now_s

    def now_ns(self) -> int:
        """Return the wall clock in nanoseconds since 1970; it moves with the loop's time."""
        return self._started_ns + round(self.elapsed_s * 1e9)

    def advance(self, for_s: float) -> None:
        """Let time pass during the next :meth:`run_until`; see ``Clock``."""
        self._ahead_s += _positive(for_s)

    async def run_until(self, is_done: Callable[[], bool]) -> None:
        """Return when the time of ``advance`` has passed, nothing runs, and *is_done* returns True.

        It also returns when no timer is left to jump to.

        Args:
            is_done: Called whenever nothing can run at this moment; if it returns False, time jumps.
        """
        # Rounded, so that 59.9 s and 0.1 s are a minute, at whose end a lease of a minute is over.
        until_s = self._started_s + round(self.elapsed_s + self._ahead_s, 9)
        self._ahead_s = 0.0
        arrival = self._loop.call_at(until_s, lambda: None)  # no jump may go past it
        done = self._loop.create_future()
        self._awaited = (lambda: self._now_s >= until_s and is_done()), done
        try:
            await done
        finally:
            self._awaited = None
            arrival.cancel()

    def _select(self, timeout: float | None = None) -> Any:
        """Replace the selector's ``select``; the loop passes a timeout of 0 unless it has nothing to run."""
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
        """Return how many real seconds to wait for threads and sockets."""
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
        """Replace the loop's own method, to count the threads that work for the loop."""

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
    """Real time; a test may wait for it, but not for long."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()
        self._ahead_s = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the clock was created."""
        return time.monotonic() - self._started_s

    def advance(self, for_s: float) -> None:
        """Let time pass during the next :meth:`wait`; see ``Clock``."""
        self._ahead_s += _positive(for_s)
        if self._ahead_s > MAX_WAIT_S:
            raise NeedsVirtualTimeError(
                f"needs the virtual clock: {self._ahead_s:g} s of real time would have to pass"
            )

    async def wait(self) -> None:
        """Wait for the time of ``advance``."""
        ahead_s, self._ahead_s = self._ahead_s, 0.0
        await asyncio.sleep(ahead_s)


def _positive(for_s: float) -> float:
    if not 0 <= for_s < float("inf"):
        raise ValueError(f"advance({for_s!r}): give seconds, 0 or more")
    return for_s
