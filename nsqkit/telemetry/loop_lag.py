"""The event loop's lag: how late it runs what was due; it only measures."""

import asyncio
from collections.abc import Callable


class LoopLag:
    """Asks the event loop for a timer again and again, and reports how late each one came.

    Args:
        observe: Takes seconds, 0 or more; ``Metrics.event_loop_lag``.
        interval_s: Time between two samples.
    """

    def __init__(self, observe: Callable[[float], None], *, interval_s: float = 0.5) -> None:
        self._observe = observe
        self._interval_s = interval_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to sample on the running event loop; a second call changes nothing."""
        if self._timer is None:
            self._ask(asyncio.get_running_loop())

    def stop(self) -> None:
        """Sample no more; may be called twice, and before start."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        due_s = loop.time() + self._interval_s
        self._timer = loop.call_at(due_s, self._report, loop, due_s)

    def _report(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        self._observe(max(loop.time() - due_s, 0.0))
        self._ask(loop)
