"""The timers of one connection: does nsqd still send, and does the event loop still turn."""

import asyncio
from collections.abc import Callable

from nsqkit.nsq.arrival import TURN_S, Arrival

_SILENT_HEARTBEATS = 2  # nsqd, too, gives a client up after two


class Keepalive:
    """Watches heartbeats and event loop until it is stopped.

    Args:
        on_silent: Called when nothing was read for two heartbeats.
    """

    def __init__(self, on_silent: Callable[[], None]) -> None:
        self._on_silent = on_silent
        self._silent_heartbeats = 0
        self._heartbeat_s = 0.0
        self._arrival = Arrival()
        self._heartbeat_timer: asyncio.TimerHandle | None = None
        self._turn_timer: asyncio.TimerHandle | None = None

    def start(self, heartbeat_s: float) -> None:
        """Start the timers.

        Args:
            heartbeat_s: Interval between two heartbeats of nsqd, in seconds.
        """
        self._heartbeat_s = heartbeat_s
        self._heartbeat()
        self._turned()

    def stop(self) -> None:
        """Cancel the timers, whether they were started or not."""
        for timer in (self._heartbeat_timer, self._turn_timer):
            if timer is not None:
                timer.cancel()

    def waiting(self) -> None:
        """Note that there is nothing to read."""
        self._arrival.waiting()

    def heard(self) -> float:
        """Note that something was read, and return when it arrived at the latest, by ``time.monotonic()``."""
        self._silent_heartbeats = 0
        return self._arrival.latest_s()

    def _heartbeat(self) -> None:
        # Counts turns of a timer, not seconds: a loop that was blocked for long finds at most one
        # silent turn, and reads what waits before the next.
        if self._silent_heartbeats >= _SILENT_HEARTBEATS:
            self._on_silent()
            return
        self._silent_heartbeats += 1
        self._heartbeat_timer = asyncio.get_running_loop().call_later(self._heartbeat_s, self._heartbeat)

    def _turned(self) -> None:
        self._arrival.turned()
        self._turn_timer = asyncio.get_running_loop().call_later(TURN_S, self._turned)
