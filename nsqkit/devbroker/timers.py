"""The deadlines of deliveries and deferrals, earliest first. Pure: it reads no clock."""

import heapq

from nsqkit.devbroker.message import Copy

_STALE_TIMERS_KEPT = 1024


class Timers:
    """Deadlines of copies, earliest first; a copy has at most one.

    Stopped timers stay in the heap until they reach its top or outnumber the running ones.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Copy]] = []
        self._started = 0
        self._running = 0

    def start(self, copy: Copy, deadline_s: float) -> None:
        """Set or move the deadline of a copy."""
        self._started += 1
        self._running += not copy.timer
        copy.timer = self._started
        heapq.heappush(self._heap, (deadline_s, self._started, copy))
        if len(self._heap) > 2 * self._running + _STALE_TIMERS_KEPT:
            self._heap = [entry for entry in self._heap if entry[2].timer == entry[1]]
            heapq.heapify(self._heap)

    def stop(self, copy: Copy) -> None:
        """Remove the deadline of a copy, if it has one."""
        self._running -= bool(copy.timer)
        copy.timer = 0

    def next_deadline_s(self) -> float | None:
        """Return the earliest deadline, or None if there is none."""
        heap = self._heap
        while heap and heap[0][2].timer != heap[0][1]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now_s: float) -> Copy | None:
        """Remove the earliest deadline if it is due, and return its copy; else None."""
        deadline_s = self.next_deadline_s()
        if deadline_s is None or deadline_s > now_s:
            return None
        copy = heapq.heappop(self._heap)[2]
        self.stop(copy)
        return copy
