"""RDY timer: one timer for the RDY control of all handlers of a worker. It knows nothing of RDY."""

import asyncio
import math
import time
from collections.abc import Callable

Check = Callable[[float], None]
"""Called with the current time when it is due; it may ask for its next call."""

_GRAIN_S = 0.001
"""All checks that are due within one grain share a wake-up, in seconds."""
_NEAR_RATIO = 0.5
"""The timer follows a check that is put off once less than this part of the new delay is left."""


class RdyTimer:
    """Calls the checks of many handlers when they are due, with one timer of the event loop.

    A check that is put off in time, as each chunk of messages does, causes no wake-up. Without checks there
    is no timer.

    Args:
        now_s: Monotonic clock, in seconds.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.now_s = now_s
        self._due_s: dict[Check, float] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._first: Check | None = None  # the check that the handle is for
        self._at_s = math.inf  # time of the handle; minus infinity while checks run

    def call_at(self, due_s: float, check: Check, *, now_s: float) -> None:
        """Call a check once, instead of at the time of an earlier request.

        Args:
            due_s: Time of the call by the monotonic clock, in seconds; infinite for never.
            check: The check; one that is equal to an earlier one is the same.
            now_s: Current time, in seconds.
        """
        if due_s == math.inf:
            self.cancel(check)
            return
        self._due_s[check] = due_s
        is_put_off = self._at_s - now_s < (due_s - now_s) * _NEAR_RATIO and check == self._first
        if due_s <= self._at_s - _GRAIN_S or is_put_off:
            self._set(now_s)

    def cancel(self, check: Check) -> None:
        """Do not call a check that may have been requested."""
        self._due_s.pop(check, None)
        if not self._due_s and self._handle is not None:
            self._set(0.0)

    def _set(self, now_s: float) -> None:
        """Set the timer for the check that is due first, if there is one."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._first, self._at_s = None, None, math.inf
        if self._due_s:
            self._first = min(self._due_s, key=self._due_s.__getitem__)
            due_s = self._due_s[self._first]
            self._at_s = max(due_s, math.ceil(due_s / _GRAIN_S) * _GRAIN_S)
            self._handle = asyncio.get_running_loop().call_later(self._at_s - now_s, self._fire)

    def _fire(self) -> None:
        now_s = max(self._at_s, self.now_s())  # timers of an event loop may be early
        self._handle, self._first, self._at_s = None, None, -math.inf
        try:
            for check in [check for check, due_s in self._due_s.items() if due_s <= now_s]:
                if self._due_s.pop(check, None) is not None:
                    check(now_s)
        finally:
            self._set(now_s)
