"""Turns: notes that the event loop turns, with one timer for all connections on it."""

import asyncio
import time
from collections.abc import Callable

from nsqkit.policy.beats import next_beat_s

TURN_S = 0.25
"""Seconds between two notes."""
BLOCKED_S = 2 * TURN_S
"""Seconds without a note after which the event loop counts as blocked."""


class Turns:
    """When an event loop last turned.

    Args:
        now_s: Monotonic clock, in seconds.

    Attributes:
        mark_s: Time of the last turn; after a block, that of the turn before it, until the next turn.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.now_s = now_s
        self.mark_s = self._turned_s = now_s()
        self._connections = 0
        self._timer: asyncio.TimerHandle | None = None

    @staticmethod
    def join() -> "Turns":
        """Return the turns of the running event loop, for a connection; it must call :meth:`leave` once."""
        loop = asyncio.get_running_loop()
        if (turns := _turns.get(loop)) is None:
            turns = _turns[loop] = Turns()
            turns._note(loop)
        turns._connections += 1
        return turns

    def leave(self) -> None:
        """Note no more turns if this was the last connection."""
        self._connections -= 1
        if not self._connections and self._timer is not None:
            self._timer.cancel()
            for loop in [loop for loop, turns in _turns.items() if turns is self]:
                del _turns[loop]

    def turned(self) -> None:
        """Note a turn of the event loop."""
        now_s = self.now_s()
        # Bytes that arrived during a block may still be unread: timers may run before sockets.
        self.mark_s = self._turned_s if now_s - self._turned_s > BLOCKED_S else now_s
        self._turned_s = now_s

    def _note(self, loop: asyncio.AbstractEventLoop) -> None:
        self.turned()
        self._timer = loop.call_at(next_beat_s(loop.time(), TURN_S), self._note, loop)


_turns: dict[asyncio.AbstractEventLoop, Turns] = {}
