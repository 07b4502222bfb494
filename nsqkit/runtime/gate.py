"""Gate: opens, narrows or shuts the intake of a handler."""

import asyncio
import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from nsqkit.policy.verdict import RequeueReason


class Flow(StrEnum):
    """What the consumer's connections must do."""

    OPEN = "open"
    TRIAL = "trial"
    SHUT = "shut"


class Gate:
    """The gate of one handler. Each reason to shut it ends after a time or by ``open``; trials narrow it.

    Args:
        slots: Maximum number of deliveries that run at a time while the gate is open; 1 or more.
        apply: Called with the new flow, to pause or resume the connections.
        log: structlog logger with the handler's fields.

    Attributes:
        limit: Number of deliveries that may run at a time now; 0 while the gate is shut. On trial, those
            that started in an earlier epoch do not count.
        epoch: Number of outages and failed trials so far. A delivery keeps the epoch that it started in:
            once that has passed, its result decides nothing.
    """

    def __init__(self, slots: int, *, apply: Callable[[Flow], None], log: Any) -> None:
        self._slots = slots
        self._apply = apply
        self._changed: Callable[[], None] = lambda: None
        self._has_trial: Callable[[], bool] = lambda: False
        self._trials_at_open: Callable[[], int | None] = lambda: None
        self._log = log
        self._shut: dict[RequeueReason, tuple[float, asyncio.TimerHandle | None]] = {}
        self._trials: int | None = None
        self._is_quarantined = False
        self._flow = Flow.OPEN
        self._is_final = False
        self.limit = slots
        self.epoch = 0

    def on_change(self, changed: Callable[[], None], has_trial: Callable[[], bool] = lambda: False) -> None:
        """Set the functions of the intake.

        Args:
            changed: Called when :attr:`limit` or :attr:`epoch` may have changed.
            has_trial: Returns whether a waiting delivery can be the next trial, so that no message is needed.
        """
        self._changed, self._has_trial = changed, has_trial

    def on_open(self, trials: Callable[[], int | None]) -> None:
        """Set the function that is called before the gate opens.

        Args:
            trials: Returns how many deliveries may run at a time as trials; None for all slots. It may shut
                the gate again.
        """
        self._trials_at_open = trials

    @property
    def reason(self) -> RequeueReason | None:
        """The reason that keeps the gate shut longest; None while it is open."""
        return max(self._shut, key=lambda reason: self._shut[reason][0], default=None)

    @property
    def until_s(self) -> float:
        """Time on the loop's clock when the gate opens by itself; infinite for never, 0 while it is open."""
        return max((until_s for until_s, _ in self._shut.values()), default=0.0)

    @property
    def is_on_trial(self) -> bool:
        """Whether the gate lets only trials through, now or when it opens."""
        return self._trials is not None

    @property
    def is_open(self) -> bool:
        """Whether all slots may run."""
        return self.limit == self._slots and self._trials is None

    def rest(self, reason: RequeueReason, for_s: float) -> None:
        """Shut the gate for an outage: results of deliveries that have started already decide nothing more.

        Args:
            reason: What the outage is seen by: a kill switch, a breaker or a ``Pause``.
            for_s: Seconds until the gate opens by itself, above 0.
        """
        self.epoch += 1
        self.shut(reason, for_s)

    def shut(self, reason: RequeueReason, for_s: float = math.inf) -> None:
        """Shut the gate for some time. A shorter time for a reason that holds already changes nothing.

        Args:
            reason: Why the intake pauses; shown in logs and states.
            for_s: Seconds until the gate opens by itself; infinite until :meth:`open`.
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
        timer = None if for_s == math.inf else loop.call_at(until_s, self.open, reason)
        self._shut[reason] = until_s, timer
        self._update()

    def open(self, reason: RequeueReason) -> bool:
        """Remove a reason to be shut; return whether the gate was shut for it."""
        until_s, timer = self._shut.pop(reason, (None, None))
        if timer is not None:
            timer.cancel()
        if until_s is None:
            return False
        if not self._shut and not self._is_final:
            self._trials = self._trials_at_open()
        self._log.info("intake_resumed", reason=reason, still=self.reason)
        self._update()
        return True

    def probe(self, trials: int | None) -> None:
        """Let at most *trials* deliveries run at a time; None lets all slots run again."""
        self._trials = trials
        self._update()

    def repeat_trial(self) -> None:
        """Request another message as a trial, since the last one did not reach the handler."""
        if self._trials is not None:
            self._apply_flow()

    def quarantine(self, *, is_on: bool) -> None:
        """Stop taking messages in while the worker runs suspects; messages in flight are not affected."""
        self._is_quarantined = is_on
        self._apply_flow()

    def close(self) -> None:
        """Stop the timers and start no more deliveries. Final."""
        self._is_final = True
        for _, timer in self._shut.values():
            if timer is not None:
                timer.cancel()
        self._update()

    def _update(self) -> None:
        narrow = self._slots if self._trials is None else min(self._trials, self._slots)
        self.limit = 0 if self._shut or self._is_final else narrow
        self._apply_flow()
        self._changed()

    def _apply_flow(self) -> None:
        flow = Flow.OPEN if self._trials is None else Flow.TRIAL
        if self._shut or self._is_quarantined or (flow is Flow.TRIAL and self._has_trial()):
            flow = Flow.SHUT
        if self._is_final or (flow is self._flow and flow is not Flow.TRIAL):
            return  # a trial is applied again: the connections count messages in flight for it
        self._flow = flow
        self._apply(flow)
