"""Failure monitor: shuts a handler's gate when its calls fail, and reopens it with trials."""

import math
from collections.abc import Callable, Iterable

from nsqkit.handler.breaker import open_for_s
from nsqkit.policy.kill_switch import KillSwitch, Switch, SwitchState
from nsqkit.policy.leaves import late_failures, refused_by
from nsqkit.policy.outage import rest_s
from nsqkit.policy.verdict import RequeueReason, Verdict
from nsqkit.runtime.gate import Gate
from nsqkit.runtime.ports import Meter


class FailureMonitor:
    """Notices outages by how the calls of one handler end: kill switch, open breakers, and ``Pause``.

    In an outage the gate is shut. Then messages are tried one by one, and each failed trial shuts it for
    longer, until a trial succeeds. A trial that fails in another way leaves the gate on trial.

    Args:
        policy: The handler's kill switch; None if it has none.
        gate: The gate of the handler's intake.
        meter: Reports the state of the kill switch.
        now_s: Monotonic clock of the event loop, seconds.

    Attributes:
        is_watching: Whether the results of all calls must be judged now. Errors and pauses always must.
        switch_state: State of the kill switch; closed if there is none.
    """

    def __init__(
        self, policy: KillSwitch | None, gate: Gate, *, meter: Meter, now_s: Callable[[], float]
    ) -> None:
        self._policy = policy
        self._switch = Switch(policy) if policy else None
        self._gate = gate
        self._meter = meter
        self._now_s = now_s
        self._is_blocked = False  # nsqd refused a publish, and no trial has shown yet that it accepts them
        self._is_away = False  # a breaker refused or the handler paused, and no trial has succeeded yet
        self._dependencies: set[str] = set()  # whose breakers have refused calls in this outage
        self._failed_trials = 0
        self.is_watching = policy is not None
        self.switch_state = SwitchState.CLOSED
        gate.on_open(self._begin_trials)
        self._show()

    def judge(
        self,
        epoch: int,
        verdict: Verdict,
        error: BaseException | None,
        *,
        is_ruled: bool = False,
        publishes: bool = False,
    ) -> bool:
        """Judge the result of a handler call, and shut or open the gate.

        Args:
            epoch: The gate's epoch when the delivery started.
            verdict: The verdict on the delivery.
            error: The exception that the handler raised, or its timeout; None if there was none.
            is_ruled: Whether a rule of the retry policy decides on the error. Then only ``Pause`` and the
                kill switch take it for an outage.
            publishes: Whether something must be published before the delivery can be settled.

        Returns:
            Whether an outage is to blame that is known already. The message is then not to be requeued but
            kept, and handled again once the gate opens.
        """
        if epoch != self._gate.epoch:
            return not self._gate.is_open and self._is_outage(verdict, error, is_ruled=is_ruled)
        if verdict.pause_s > 0.0:
            return self._rest(RequeueReason(verdict.reason), verdict.pause_s, error)
        if not is_ruled and (for_s := self._open_for_s(error)) > 0.0:
            self._rest(RequeueReason.BREAKER_OPEN, for_s, error)
            return True
        if error is None:
            self._is_away = False
            self._is_blocked &= publishes
        return self._count(error)

    def block(self) -> None:
        """Shut the gate until it is opened for dead letters; then messages are tried one by one."""
        self._is_blocked = self.is_watching = True
        self._gate.rest(RequeueReason.DEAD_LETTER_FAILED, math.inf)

    def unblock(self) -> None:
        """End the trials after :meth:`block`: nsqd has confirmed a publish."""
        self._is_blocked = False
        if self._gate.is_on_trial:
            self._gate.probe(self._trials())

    def _is_outage(self, verdict: Verdict, error: BaseException | None, *, is_ruled: bool) -> bool:
        """Return whether a call that began before the outage failed for it."""
        if verdict.pause_s > 0.0 or (not is_ruled and self._open_for_s(error) > 0.0):
            return True
        is_open = self._switch is not None and self._switch.state is not SwitchState.CLOSED
        return is_open and self._policy is not None and self._policy.blames(error)

    def _rest(self, reason: RequeueReason, for_s: float, error: BaseException | None) -> bool:
        """Shut the gate, for longer after each failed trial; return whether this was one."""
        is_trial = self._gate.is_on_trial
        self._is_away = self.is_watching = True
        self._failed_trials += is_trial
        if error is not None:
            self._dependencies |= late_failures(error) | refused_by(error)
        self._gate.rest(reason, rest_s(for_s, self._failed_trials))
        return is_trial

    def _count(self, error: BaseException | None) -> bool:
        """Count the result for the kill switch; return whether it opens the half-open switch again."""
        is_trial = self._gate.is_on_trial
        if self._policy is not None and self._switch is not None:
            is_failure = self._policy.blames(error)
            if self._switch.record(is_failure, now_s=self._now_s()) is SwitchState.OPEN:
                self._show()
                self._gate.rest(RequeueReason.KILL_SWITCH, self._switch.open_for_s)
                return is_trial
        if is_trial:
            self._gate.probe(self._trials())
        return False

    def _begin_trials(self) -> int | None:
        """Return how many trials may run at a time as the gate opens; an open breaker shuts it again."""
        if (for_s := _longest_s(self._dependencies)) > 0.0:  # the trial of another handler has failed
            self._gate.shut(RequeueReason.BREAKER_OPEN, for_s)
        if self._switch is not None:
            self._switch.half_open()
        return self._trials()

    def _trials(self) -> int | None:
        self._show()
        if self._is_away or self._is_blocked:
            return 1
        self._dependencies.clear()
        self._failed_trials = 0
        self.is_watching = self._policy is not None
        return (self._switch.trials_left or None) if self._switch else None

    def _open_for_s(self, error: BaseException | None) -> float:
        """Return for how long the breaker is open that is to blame for an error; 0 if none is.

        It is one that had opened before the call failed, or in an outage any that has refused calls in it.
        """
        return _longest_s(late_failures(error) | self._dependencies) if error is not None else 0.0

    def _show(self) -> None:
        if self._switch is not None:
            self.switch_state = self._switch.state
            self._meter.kill_switch(self.switch_state)


def _longest_s(dependencies: Iterable[str]) -> float:
    return max(map(open_for_s, dependencies), default=0.0)
