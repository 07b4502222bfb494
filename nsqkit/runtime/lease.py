"""Lease keeper: extends the leases of a handler's deliveries with TOUCH."""

import asyncio
import math
from collections.abc import Callable, Iterable

from nsqkit.handler.current import without_message
from nsqkit.runtime.delivery import Delivery

_TOGETHER_RATIO = 1 / 16
"""Share of a lease by which a TOUCH may be early: one check then touches many deliveries together."""


class LeaseKeeper:
    """Touches deliveries at half of their lease, with one timer for all of them.

    Args:
        held: The deliveries that are not settled yet.
        overdue: Called with each delivery whose lease is lost, or that was not started in time; an earlier
            call may have settled it.
        now_s: Monotonic clock of the event loop, seconds.
    """

    def __init__(
        self,
        held: Iterable[Delivery],
        *,
        overdue: Callable[[Delivery], None],
        now_s: Callable[[], float],
    ) -> None:
        self._held = held
        self._overdue = overdue
        self._now_s = now_s
        self._timer: asyncio.TimerHandle | None = None
        self._next_check_s = math.inf
        self._is_closed = False

    def watch(self, delivery: Delivery) -> None:
        """Keep the lease of a delivery until it is settled, or check it earlier than planned."""
        # Otherwise the next check is early enough.
        if delivery.touched_s + delivery.message.lease_s / 2 < self._next_check_s:
            self._schedule(_due_s(delivery, self._now_s()))

    def close(self) -> None:
        """Stop the timer; send no more TOUCH. Final."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self, due_s: float) -> None:
        if due_s >= self._next_check_s or self._is_closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._next_check_s = due_s
        delay_s = max(0.0, due_s - self._now_s())
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._check, context=without_message())

    def _check(self) -> None:
        self._timer, self._next_check_s = None, math.inf
        now_s = self._now_s()
        overdue = []
        try:
            for delivery in self._held:
                if delivery.is_lost(now_s) or now_s >= delivery.give_back_s:
                    overdue.append(delivery)
                elif _is_due(delivery, now_s) and delivery.message.touch():
                    delivery.touched_s = now_s
            for delivery in overdue:
                self._overdue(delivery)
        finally:
            self._schedule(min((_due_s(delivery, now_s) for delivery in self._held), default=math.inf))


def _is_due(delivery: Delivery, now_s: float) -> bool:
    return now_s >= delivery.touch_s - _TOGETHER_RATIO * delivery.message.lease_s


def _due_s(delivery: Delivery, now_s: float) -> float:
    """Return the time of the next check of a delivery; infinite for a running one whose lease is over."""
    if delivery.task is not None and delivery.is_lost(now_s):
        return math.inf if delivery.is_over(now_s) else delivery.lease_ends_s
    return min(delivery.touch_s, delivery.give_back_s, delivery.lease_ends_s)
