"""Thread queue: how many messages may be in flight per thread of a plain handler.

A thread that has ended a call needs the next message at once, and the event loop brings it some time later.
So messages wait ahead of the threads, but only as many as these start within 2 ms: others are left to nsqd,
which can give them to another worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

_QUEUED_S = 0.002
"""Seconds that a message may wait for a thread while all threads are busy, on average."""
_MEMORY_CALLS = 16
"""Number of calls after which a duration has lost two thirds of its weight in the average."""
_NOTICEABLE_RATIO = 1.25
"""The number of messages follows the average once that has changed by this factor."""
_SHORTEST_S = 1e-6
"""A call counts as this long at least: clocks may show none at all."""


@dataclass(slots=True)
class ThreadQueue:
    """The average duration of a handler's calls, and the messages in flight per thread that follow from it.

    Attributes:
        per_thread: Messages in flight per thread, the running one included; 1 or more, and 1 until the first
            call has ended.
    """

    per_thread: float = field(default=1.0, init=False)
    _mean_s: float = field(default=0.0, init=False)
    _applied_s: float = field(default=0.0, init=False)

    def ended(self, durations_s: Sequence[float]) -> bool:
        """Count calls that have ended.

        Args:
            durations_s: How long each of them ran, in seconds; one or more.

        Returns:
            Whether :attr:`per_thread` has changed.
        """
        count = len(durations_s)
        mean_s = max(sum(durations_s) / count, _SHORTEST_S)
        kept = (1.0 - 1.0 / _MEMORY_CALLS) ** count if self._mean_s else 0.0
        self._mean_s = self._mean_s * kept + mean_s * (1.0 - kept)
        if self._applied_s / _NOTICEABLE_RATIO < self._mean_s < self._applied_s * _NOTICEABLE_RATIO:
            return False
        self._applied_s = self._mean_s
        self.per_thread = 1.0 + _QUEUED_S / self._mean_s
        return True
