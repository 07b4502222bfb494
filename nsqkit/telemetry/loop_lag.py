"""Loop lag: how late the event loop runs callbacks that are due. It only measures."""

import asyncio
from collections.abc import Callable

from nsqkit.policy.beats import next_beat_s


class LoopLag:
    """Sets timers on the event loop, one after the other, and reports how late each one fires.

    Args:
        observe: Called with the lag in seconds, 0 or more; ``Metrics.event_loop_lag``.
        interval_s: Seconds between two samples.
    """

    def __init__(self, observe: Callable[[float], None], *, interval_s: float = 0.5) -> None:
        self._observe = observe
        self._interval_s = interval_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start to sample the running event loop; a second call changes nothing."""
        if self._timer is None:
            self._ask(asyncio.get_running_loop())

    def stop(self) -> None:
        """Stop sampling; may be called twice, and before start."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        due_s = next_beat_s(loop.time(), self._interval_s)
        self._timer = loop.call_at(due_s, self._report, loop, due_s)

    def _report(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        self._observe(max(loop.time() - due_s, 0.0))
        self._ask(loop)
