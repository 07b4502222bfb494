"""Arrival times: the latest time at which bytes arrived, even if the event loop was blocked. No I/O."""

import time
from collections.abc import Callable

TURN_S = 0.25
"""Seconds between two calls of :meth:`Arrival.turned`."""
_BLOCKED_S = 2 * TURN_S


class Arrival:
    """Computes a time that is no later than the arrival of the bytes being read.

    A blocked event loop reads late, and a lease counted from the read would be too long. A timer detects the
    block: if it fires late, everything read until its next turn counts as arrived at the turn before. Bytes
    that arrive after a read that left none never count as earlier than that read.

    Args:
        now_s: Monotonic clock, in seconds.
    """

    __slots__ = ("_drained_s", "_mark_s", "_now_s", "_turned_s")

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._turned_s = self._mark_s = self._drained_s = now_s()

    def turned(self) -> None:
        """Record a turn of the event loop."""
        now_s = self._now_s()
        # Bytes that arrived during a block may still be unread: timers may run before sockets.
        self._mark_s = self._turned_s if now_s - self._turned_s > _BLOCKED_S else now_s
        self._turned_s = now_s

    def latest_s(self, *, is_last: bool) -> float:
        """Return the latest arrival time of bytes that were just read, accurate to half a second.

        Args:
            is_last: Whether the read left no bytes in the socket.
        """
        now_s = self._now_s()
        latest_s = now_s if now_s - self._mark_s <= _BLOCKED_S else max(self._mark_s, self._drained_s)
        if is_last:
            self._drained_s = now_s
        return latest_s
