"""When bytes that are read now arrived at the latest, though the event loop may have been blocked. No I/O."""

import time
from collections.abc import Callable

TURN_S = 0.25
"""How often :meth:`Arrival.turned` is to be called."""
_BLOCKED_S = 2 * TURN_S


class Arrival:
    """Tells a moment that is no later than the arrival of what is read.

    A blocked loop reads late, and a lease counted from the reading would be too long. The loop's
    own timer shows it: a turn that is overdue dates everything read until the next one to the
    turn before it. What arrives while the reader waits is never dated before its waiting began.

    Args:
        now_s: A monotonic clock, in seconds.
    """

    __slots__ = ("_mark_s", "_now_s", "_turned_s", "_waiting_s")

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._turned_s = self._mark_s = self._waiting_s = now_s()

    def turned(self) -> None:
        """Note a turn of the loop."""
        now_s = self._now_s()
        # What came during a block may be unread yet: timers may go before sockets.
        self._mark_s = self._turned_s if now_s - self._turned_s > _BLOCKED_S else now_s
        self._turned_s = now_s

    def waiting(self) -> None:
        """Note that there is nothing to read."""
        self._waiting_s = self._now_s()

    def latest_s(self) -> float:
        """Return when that which is read now arrived at the latest, on the clock, to half a second."""
        now_s = self._now_s()
        return now_s if now_s - self._mark_s <= _BLOCKED_S else max(self._mark_s, self._waiting_s)
