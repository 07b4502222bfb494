"""Keepalive: detects a silent nsqd and a blocked event loop, for one connection."""

import asyncio
from collections.abc import Callable

from nsqkit.nsq.arrival import Arrival
from nsqkit.nsq.stream import CHUNK_BYTES
from nsqkit.nsq.turns import Turns

_SILENT_HEARTBEATS = 2  # nsqd also drops a client after two


class Keepalive:
    """Watches heartbeats and the event loop until it is stopped.

    Args:
        on_silent: Called when nothing was read for two heartbeat intervals.
    """

    def __init__(self, on_silent: Callable[[], None]) -> None:
        self._on_silent = on_silent
        self._silent_heartbeats = 0
        self._heartbeat_s = 0.0
        self._arrival: Arrival
        self._heartbeat_timer: asyncio.TimerHandle | None = None
        self._turns: Turns | None = None

    def start(self, heartbeat_s: float) -> None:
        """Start to watch.

        Args:
            heartbeat_s: Seconds between two heartbeats of nsqd.
        """
        self._heartbeat_s = heartbeat_s
        self._turns = Turns.join()
        self._arrival = Arrival(self._turns)
        self._heartbeat()

    def stop(self) -> None:
        """Watch no longer; may be called twice, and before the start."""
        if self._heartbeat_timer is not None:
            self._heartbeat_timer.cancel()
        if self._turns is not None:
            self._turns.leave()
            self._turns = None

    @property
    def read_s(self) -> float:
        """Time of the last read, by ``time.monotonic()``; only after the start."""
        return self._arrival.read_s

    def heard(self, n_bytes: int) -> float:
        """Record a read, and return the latest arrival time of its bytes, by ``time.monotonic()``.

        Args:
            n_bytes: Bytes that were read, of :data:`~nsqkit.nsq.stream.CHUNK_BYTES` at most.
        """
        self._silent_heartbeats = 0
        return self._arrival.latest_s(is_last=n_bytes < CHUNK_BYTES)

    def _heartbeat(self) -> None:
        # Counts timer turns, not seconds: a loop that was blocked for long counts at most one silent
        # turn, and reads pending bytes before the next one.
        if self._silent_heartbeats >= _SILENT_HEARTBEATS:
            self._on_silent()
            return
        self._silent_heartbeats += 1
        self._heartbeat_timer = asyncio.get_running_loop().call_later(self._heartbeat_s, self._heartbeat)
