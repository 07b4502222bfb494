"""Guard: shuts a handler's gate by how its calls end, and tries it again."""

from collections.abc import Callable

import pytest

from nsqkit import KillSwitch
from nsqkit.errors import BreakerOpenError
from nsqkit.policy.verdict import RequeueReason
from nsqkit.runtime.failure_monitor import FailureMonitor
from nsqkit.runtime.gate import Flow, Gate
from nsqkit.testing.clock import VirtualClock
from tests.unit.runtime.bench import RecordingLog, RecordingMeter, passed

POLICY = KillSwitch(failure_ratio=0.5, min_messages=2, open_s=10.0, max_open_s=25.0, trials=2)
FAULT = ValueError("x")
REFUSED = BreakerOpenError("shop", 5.0)


class Guarded:
    """A guard and its gate of ten slots."""

    def __init__(self, policy: KillSwitch | None, now_s: Callable[[], float]) -> None:
        self.flows: list[Flow] = []
        self.meter = RecordingMeter()
        self.gate = Gate(10, apply=self.flows.append, log=RecordingLog())
        self.monitor = FailureMonitor(policy, self.gate, meter=self.meter, now_s=now_s)

    def record(self, *errors: BaseException | None) -> None:
        for error in errors:
            self.monitor.record(error)


@pytest.fixture
async def guarded(hours: VirtualClock) -> Guarded:
    return Guarded(POLICY, hours.now_s)


class TestKillSwitch:
    async def test_closed_it_lets_all_slots_run(self, guarded: Guarded) -> None:
        guarded.record(None, None, FAULT)
        assert guarded.gate.limit == 10
        assert guarded.flows == []
        assert set(guarded.meter.states) == {"closed"}

    async def test_it_opens_is_tried_and_closes(self, hours: VirtualClock, guarded: Guarded) -> None:
        guarded.record(FAULT, FAULT)
        assert guarded.gate.reason == RequeueReason.KILL_SWITCH
        assert guarded.meter.states[-1] == "open"
        await passed(hours, 10.0)
        assert guarded.gate.limit == 2
        assert guarded.meter.states[-1] == "half_open"
        guarded.record(None)
        assert guarded.gate.limit == 1, "one more is to succeed"
        guarded.record(None)
        assert guarded.gate.limit == 10
        assert guarded.meter.states[-1] == "closed"
        assert guarded.flows == [Flow.SHUT, Flow.TRIAL, Flow.TRIAL, Flow.OPEN]

    async def test_a_trial_that_fails_opens_it_for_twice_as_long_up_to_the_cap(
        self, hours: VirtualClock, guarded: Guarded
    ) -> None:
        guarded.record(FAULT, FAULT)
        opened_s = []
        for _ in range(3):
            opened_s.append(guarded.gate.until_s - hours.now_s())
            await passed(hours, opened_s[-1])
            guarded.record(FAULT)
        assert opened_s == pytest.approx([10.0, 20.0, 25.0])

    async def test_those_that_began_before_say_nothing_while_it_is_open(
        self, hours: VirtualClock, guarded: Guarded
    ) -> None:
        guarded.record(FAULT, FAULT)
        until_s = guarded.gate.until_s
        await passed(hours, 5.0)
        guarded.record(FAULT, None)
        assert guarded.gate.until_s == until_s

    async def test_what_it_does_not_blame_is_no_failure(self, hours: VirtualClock) -> None:
        guarded = Guarded(KillSwitch(min_messages=1, exclude=(KeyError,)), hours.now_s)
        guarded.record(KeyError("x"), KeyError("x"))
        assert guarded.gate.limit == 10
        guarded.record(FAULT)
        assert guarded.gate.limit == 10, "one of three"


class TestBreaker:
    @pytest.mark.parametrize("policy", [None, POLICY], ids=["alone", "beside a kill switch"])
    async def test_afterwards_one_goes_first_and_then_all(
        self, hours: VirtualClock, policy: KillSwitch | None
    ) -> None:
        guarded = Guarded(policy, hours.now_s)
        guarded.monitor.breaker_opened(5.0)
        assert (guarded.gate.limit, guarded.gate.reason) == (0, RequeueReason.BREAKER_OPEN)
        await passed(hours, 5.0)
        assert guarded.gate.limit == 1
        assert guarded.monitor.is_watching
        guarded.record(None)
        assert guarded.gate.limit == 10
        assert guarded.flows == [Flow.SHUT, Flow.TRIAL, Flow.OPEN]
        assert guarded.monitor.is_watching is (policy is not None)

    async def test_if_that_one_is_refused_too_it_rests_again(self, hours: VirtualClock) -> None:
        guarded = Guarded(None, hours.now_s)
        guarded.monitor.breaker_opened(5.0)
        await passed(hours, 5.0)
        guarded.monitor.breaker_opened(5.0)
        guarded.record(REFUSED)
        assert guarded.gate.limit == 0
        await passed(hours, 5.0)
        assert guarded.gate.limit == 1

    async def test_a_refused_call_says_nothing_of_the_handler(self, guarded: Guarded) -> None:
        guarded.record(REFUSED, REFUSED, REFUSED)
        assert guarded.meter.states == ["closed"]
        assert guarded.gate.limit == 10

    async def test_one_goes_first_also_where_more_trials_are_left(
        self, hours: VirtualClock, guarded: Guarded
    ) -> None:
        guarded.record(FAULT, FAULT)
        guarded.monitor.breaker_opened(20.0)
        await passed(hours, 10.0)
        assert guarded.gate.limit == 0, "the breaker is open still"
        await passed(hours, 10.0)
        assert guarded.gate.limit == 1
        guarded.record(None)
        assert guarded.gate.limit == 1, "the kill switch's second trial"
        guarded.record(None)
        assert guarded.gate.limit == 10

    async def test_a_failure_after_it_is_blamed_as_ever(self, hours: VirtualClock, guarded: Guarded) -> None:
        guarded.monitor.breaker_opened(5.0)
        await passed(hours, 5.0)
        guarded.record(FAULT, FAULT)
        assert guarded.gate.reason == RequeueReason.KILL_SWITCH


async def test_without_a_kill_switch_nothing_is_shown_and_nobody_need_tell(hours: VirtualClock) -> None:
    guarded = Guarded(None, hours.now_s)
    assert guarded.meter.states == []
    assert not guarded.monitor.is_watching
