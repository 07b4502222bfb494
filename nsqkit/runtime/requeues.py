"""Requeues: when the messages that this worker requeued with a delay are due again. It sends nothing."""

import heapq
import math


class Requeues:
    """The seconds in which requeued messages are due: one entry a second, however many are due then."""

    def __init__(self) -> None:
        self._due: list[int] = []  # a heap
        self._known: set[int] = set()

    def add(self, delay_s: float, *, now_s: float) -> None:
        """Add a message that nsqd delivers again.

        Args:
            delay_s: Seconds until then, above 0.
            now_s: The time.
        """
        self._forget(now_s)
        due = math.ceil(now_s + delay_s)
        if due not in self._known:
            self._known.add(due)
            heapq.heappush(self._due, due)

    def next_in_s(self, now_s: float) -> float | None:
        """Return the seconds until the first message is due, at most 1 s too many; None if none is known."""
        self._forget(now_s)
        return self._due[0] - now_s if self._due else None

    def _forget(self, now_s: float) -> None:
        while self._due and self._due[0] <= now_s:
            self._known.discard(heapq.heappop(self._due))
