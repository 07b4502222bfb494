"""Time limits that hardly count the time in which the event loop is blocked: nsqd is not at fault then."""

import asyncio
from collections.abc import Callable
from types import TracebackType

_PARTS = 4


class LoopTime:
    """Counts a time in four parts, with one timer after the other: a block counts as one part at most.

    After a block, all timers are due at once, while answers that arrived in time are still unread.

    Args:
        seconds: The time to count, above 0.
        on_end: Called when it is over; None for nothing.
    """

    def __init__(self, seconds: float, on_end: Callable[[], object] | None = None) -> None:
        self._part_s = seconds / _PARTS
        self._on_end = on_end
        self._left = _PARTS
        self._start_part()

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return not self._left

    @property
    def is_nearly_over(self) -> bool:
        """Whether at most one part is left."""
        return self._left <= 1

    def cancel(self) -> None:
        """Stop counting; call it once the time does not matter any more."""
        self._timer.cancel()

    def _start_part(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._part_s, self._end_part)

    def _end_part(self) -> None:
        self._left -= 1
        if self._left:
            self._start_part()
        elif self._on_end is not None:
            self._on_end()


class TimeLimit:
    """Limits the time of a block of code, as ``asyncio.timeout`` does, counted by :class:`LoopTime`.

    Entering it raises nothing; leaving it raises TimeoutError if the time is over.

    Args:
        seconds: Longest time, above 0.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._limit = asyncio.timeout(None)

    @property
    def is_over(self) -> bool:
        """Whether the time was over before the block of code ended; ask only in or after the block."""
        return self._time.is_over

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._time = LoopTime(self._seconds, self._end)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._time.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _end(self) -> None:
        self._limit.reschedule(asyncio.get_running_loop().time())
