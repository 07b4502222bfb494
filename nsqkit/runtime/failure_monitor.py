"""Failure monitor: shuts a handler's gate when its calls fail, and reopens it with trials."""

from collections.abc import Callable

from nsqkit.policy.kill_switch import KillSwitch, Switch, SwitchState
from nsqkit.policy.leaves import refused_for_s
from nsqkit.policy.verdict import RequeueReason
from nsqkit.runtime.gate import Gate
from nsqkit.runtime.ports import Meter


class FailureMonitor:
    """Counts failures for the kill switch of one handler, and pauses its intake for open breakers.

    Args:
        policy: The handler's kill switch; None if it has none.
        gate: The gate of the handler's intake.
        meter: Reports the state of the kill switch.
        now_s: Monotonic clock of the event loop, seconds.

    Attributes:
        is_watching: Whether the outcomes of calls are needed now, so that they must be recorded.
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
        """Record the result of a handler call.

        Args:
            error: The exception that it raised; None if it returned.
        """
        if refused_for_s(error) is not None:
            return  # no failure of the handler; the gate is shut for the breaker already
        self._is_after_breaker = False
        if self._policy is None or self._switch is None:
            self.is_watching = False
        elif self._switch.record(self._policy.blames(error), now_s=self._now_s()) is SwitchState.OPEN:
            self._gate.shut(RequeueReason.KILL_SWITCH, self._switch.open_for_s, then=self._half_open)
        self._narrow()

    def breaker_opened(self, for_s: float) -> None:
        """Shut the gate while a breaker is open; afterwards let one delivery through as a trial.

        Args:
            for_s: Seconds until the breaker lets a trial through.
        """
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
