"""Gate: whether a handler's intake is open, and for how many deliveries at a time."""

import asyncio
import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from nsqkit.policy.verdict import RequeueReason


class Flow(StrEnum):
    """What is asked of the connections."""

    OPEN = "open"
    TRIAL = "trial"
    SHUT = "shut"


class Gate:
    """One handler's gate: shut for reasons that end by time or by hand, and narrow while it is on trial.

    Args:
        slots: Deliveries that may run at a time while it is open; 1 or more.
        apply: Tells the connections.
        log: A structlog logger.

    Attributes:
        limit: Deliveries that may run at a time now; 0 while it is shut.
    """

    def __init__(self, slots: int, *, apply: Callable[[Flow], None], log: Any) -> None:
        self._slots = slots
        self._apply = apply
        self._changed: Callable[[], None] = lambda: None
        self._log = log
        self._shut: dict[RequeueReason, tuple[float, asyncio.TimerHandle | None]] = {}
        self._trials: int | None = None
        self._is_quarantined = False
        self._flow = Flow.OPEN
        self._is_final = False
        self.limit = slots

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have somebody told after every change of :attr:`limit`."""
        self._changed = changed

    @property
    def reason(self) -> RequeueReason | None:
        """Why it is shut; the one that ends last, None while it is open."""
        return max(self._shut, key=lambda reason: self._shut[reason][0], default=None)

    @property
    def until_s(self) -> float:
        """When it opens by itself, on the loop's clock; infinite for never, 0 while it is open."""
        return max((until_s for until_s, _ in self._shut.values()), default=0.0)

    @property
    def is_on_trial(self) -> bool:
        """Whether it is open for a few deliveries only."""
        return self._trials is not None

    def shut(
        self, reason: RequeueReason, for_s: float = math.inf, *, then: Callable[[], None] = lambda: None
    ) -> None:
        """Shut it for some time; for the same reason the time that ends last counts.

        Args:
            reason: Why.
            for_s: Seconds; infinite until :meth:`open`.
            then: Called just before it opens by itself.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + for_s
        known = self._shut.get(reason)
        if self._is_final or (known is not None and known[0] >= until_s):
            return
        if known is not None and known[1] is not None:
            known[1].cancel()
        self._log.warning(
            "intake_paused", reason=reason, for_s=None if for_s == math.inf else round(for_s, 3)
        )
        timer = None if for_s == math.inf else loop.call_at(until_s, self._expire, reason, then)
        self._shut[reason] = until_s, timer
        self._update()

    def open(self, reason: RequeueReason) -> bool:
        """Take a reason away, and return whether it was one."""
        until_s, timer = self._shut.pop(reason, (None, None))
        if timer is not None:
            timer.cancel()
        if until_s is None:
            return False
        self._log.info("intake_resumed", reason=reason, still=self.reason)
        self._update()
        return True

    def probe(self, trials: int | None) -> None:
        """Let only so many run at a time; None ends that."""
        self._trials = trials
        self._update()

    def repeat_trial(self) -> None:
        """Let another message come while it is on trial: the last one did not reach the handler."""
        if self._trials is not None:
            self._tell()

    def quarantine(self, *, is_on: bool) -> None:
        """Take nothing more in while this worker runs suspects; what is held runs on."""
        self._is_quarantined = is_on
        self._tell()

    def close(self) -> None:
        """Stop the timers and start nothing more. Final."""
        self._is_final = True
        for _, timer in self._shut.values():
            if timer is not None:
                timer.cancel()
        self._update()

    def _expire(self, reason: RequeueReason, then: Callable[[], None]) -> None:
        then()
        self.open(reason)

    def _update(self) -> None:
        narrow = self._slots if self._trials is None else min(self._trials, self._slots)
        self.limit = 0 if self._shut or self._is_final else narrow
        self._tell()
        self._changed()

    def _tell(self) -> None:
        flow = Flow.OPEN if self._trials is None else Flow.TRIAL
        if self._shut or self._is_quarantined:
            flow = Flow.SHUT
        if self._is_final or (flow is self._flow and flow is not Flow.TRIAL):
            return  # on trial it is told again: what is held counts then
        self._flow = flow
        self._apply(flow)
