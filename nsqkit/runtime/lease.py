"""Lease keeper: touches what a handler holds, for as long as it is wanted."""

import asyncio
import math
from collections.abc import Callable, Iterable

from nsqkit.runtime.delivery import Delivery

_TOGETHER_RATIO = 1 / 16
"""What is due within this share of its lease is touched along: a look takes in all that is held."""


class LeaseKeeper:
    """Touches deliveries at half of their lease, by one timer for all of them.

    Args:
        held: What is held now.
        overdue: Told of each delivery that is lost, or was not started in time.
        now_s: The loop's monotonic clock.
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
        self._looks_s = math.inf
        self._is_closed = False

    def watch(self, delivery: Delivery) -> None:
        """Keep a delivery, or look at one earlier than planned; that ends by no longer being held."""
        if delivery.touched_s + delivery.message.lease_s / 2 < self._looks_s:  # nothing is due any sooner
            self._look_at(_due_s(delivery, self._now_s()))

    def close(self) -> None:
        """Touch nothing more. Final."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _look_at(self, due_s: float) -> None:
        if due_s >= self._looks_s or self._is_closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._looks_s = due_s
        delay_s = max(0.0, due_s - self._now_s())
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        self._timer, self._looks_s = None, math.inf
        now_s = self._now_s()
        try:
            for delivery in tuple(self._held):
                if delivery.is_lost(now_s) or now_s >= delivery.give_back_s:
                    self._overdue(delivery)
                elif _is_due(delivery, now_s) and delivery.message.touch():
                    delivery.touched_s = now_s
        finally:
            self._look_at(min((_due_s(delivery, now_s) for delivery in self._held), default=math.inf))


def _is_due(delivery: Delivery, now_s: float) -> bool:
    return now_s >= delivery.touch_s - _TOGETHER_RATIO * delivery.message.lease_s


def _due_s(delivery: Delivery, now_s: float) -> float:
    """Return when to look at a delivery again; never at one that runs and is lost."""
    if delivery.task is not None and delivery.is_lost(now_s):
        return math.inf
    return min(delivery.touch_s, delivery.give_back_s, delivery.lease_ends_s)
