"""Failure monitor: shuts a handler's gate by how its calls end, and tries it again."""

from collections.abc import Callable

from nsqkit.errors import BreakerOpenError
from nsqkit.policy.kill_switch import KillSwitch, Switch, SwitchState
from nsqkit.policy.verdict import RequeueReason
from nsqkit.runtime.gate import Gate
from nsqkit.runtime.ports import Meter


class FailureMonitor:
    """The kill switch of one handler, and its caution after a dependency's breaker was open.

    Args:
        policy: The handler's kill switch; None for none.
        gate: The handler's.
        meter: Shows the state.
        now_s: The loop's monotonic clock.
    """

    def __init__(
        self, policy: KillSwitch | None, gate: Gate, *, meter: Meter, now_s: Callable[[], float]
    ) -> None:
        self._policy = policy
        self._switch = Switch(policy) if policy else None
        self._gate = gate
        self._meter = meter
        self._now_s = now_s
        self._is_after_breaker = False
        self.is_watching = policy is not None
        if self._switch is not None:
            meter.kill_switch(self._switch.state)

    def record(self, error: BaseException | None) -> None:
        """Take in how a call of the handler ended.

        Args:
            error: What it raised; None if it returned.
        """
        if isinstance(error, BreakerOpenError):
            return  # says nothing of the handler; the gate is shut for it already
        self._is_after_breaker = False
        if self._policy is None or self._switch is None:
            self.is_watching = False
        elif self._switch.record(self._policy.blames(error), now_s=self._now_s()) is SwitchState.OPEN:
            self._gate.shut(RequeueReason.KILL_SWITCH, self._switch.open_for_s, then=self._half_open)
        self._narrow()

    def breaker_opened(self, for_s: float) -> None:
        """Shut the gate because a dependency's breaker is open; afterwards one delivery goes first."""
        self._gate.shut(RequeueReason.BREAKER_OPEN, for_s, then=self._after_breaker)

    def _half_open(self) -> None:
        if self._switch is not None:
            self._switch.half_open()
        self._narrow()

    def _after_breaker(self) -> None:
        self._is_after_breaker = self.is_watching = True
        self._narrow()

    def _narrow(self) -> None:
        trials = 1 if self._is_after_breaker else None
        if self._switch is not None:
            self._meter.kill_switch(self._switch.state)
            if self._switch.state is SwitchState.HALF_OPEN:
                trials = trials or self._switch.trials_left
        if trials is not None or self._gate.is_on_trial:
            self._gate.probe(trials)
