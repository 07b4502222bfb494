"""Failure monitor: shuts a handler's gate by how its calls end, and tries it again."""

from collections.abc import Callable

import pytest

from nsqkit import Breaker, KillSwitch
from nsqkit.errors import BreakerOpenError
from nsqkit.policy.verdict import SUCCESS, OutcomeLabel, RequeueReason, Verdict
from nsqkit.runtime.failure_monitor import FailureMonitor
from nsqkit.runtime.gate import Flow, Gate
from nsqkit.testing.clock import VirtualClock
from tests.unit.runtime.bench import RecordingLog, RecordingMeter, passed

POLICY = KillSwitch(failure_ratio=0.5, min_messages=2, open_s=10.0, max_open_s=25.0, trials=2)
FAULT = ValueError("x")
FAILED = Verdict(OutcomeLabel.REQUEUE, RequeueReason.ERROR, 1.0)


def refused(for_s: float = 5.0) -> tuple[Verdict, BreakerOpenError]:
    verdict = Verdict(OutcomeLabel.REQUEUE, RequeueReason.BREAKER_OPEN, for_s, pause_s=for_s)
    return verdict, BreakerOpenError("shop", for_s)


def paused(for_s: float = 5.0) -> tuple[Verdict, None]:
    return Verdict(OutcomeLabel.REQUEUE, RequeueReason.PAUSED, for_s, pause_s=for_s), None


class Guarded:
    """A monitor and its gate of ten slots."""

    def __init__(self, policy: KillSwitch | None, now_s: Callable[[], float]) -> None:
        self.flows: list[Flow] = []
        self.meter = RecordingMeter()
        self.gate = Gate(10, apply=self.flows.append, log=RecordingLog())
        self.monitor = FailureMonitor(policy, self.gate, meter=self.meter, now_s=now_s)

    def judge(self, verdict: Verdict, error: BaseException | None, epoch: int | None = None) -> bool:
        return self.monitor.judge(self.gate.epoch if epoch is None else epoch, verdict, error)

    def record(self, *errors: BaseException | None) -> list[bool]:
        """Judge calls that end one after another; return for each whether its message is kept."""
        return [self.judge(FAILED if error else SUCCESS, error) for error in errors]


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
        assert guarded.record(FAULT, FAULT) == [False, False], "both are requeued"
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

    async def test_a_failed_trial_is_kept_and_opens_it_for_twice_as_long_up_to_the_limit(
        self, hours: VirtualClock, guarded: Guarded
    ) -> None:
        guarded.record(FAULT, FAULT)
        opened_s, kept = [], []
        for _ in range(3):
            opened_s.append(guarded.gate.until_s - hours.now_s())
            await passed(hours, opened_s[-1])
            kept += guarded.record(FAULT)
        assert opened_s == pytest.approx([10.0, 20.0, 25.0])
        assert kept == [True, True, True]

    @pytest.mark.parametrize("after_s", [5.0, 10.0], ids=["open", "half-open"])
    async def test_calls_that_began_before_the_opening_decide_nothing(
        self, hours: VirtualClock, guarded: Guarded, after_s: float
    ) -> None:
        guarded.record(FAULT, FAULT)
        await passed(hours, after_s)
        state = guarded.gate.limit, guarded.gate.until_s
        assert guarded.judge(FAILED, FAULT, epoch=0), "it failed for the outage: its message is kept"
        assert not guarded.judge(SUCCESS, None, epoch=0)
        assert (guarded.gate.limit, guarded.gate.until_s) == state

    async def test_an_error_that_does_not_count_is_no_failure(self, hours: VirtualClock) -> None:
        guarded = Guarded(KillSwitch(min_messages=1, exclude=(KeyError,)), hours.now_s)
        guarded.record(KeyError("x"), KeyError("x"))
        assert guarded.gate.limit == 10
        guarded.record(FAULT)
        assert guarded.gate.limit == 10, "one of three"


@pytest.mark.parametrize("outage", [refused, paused], ids=["breaker", "pause"])
@pytest.mark.parametrize("policy", [None, POLICY], ids=["alone", "beside a kill switch"])
class TestRest:
    async def test_afterwards_one_message_is_tried_and_then_all_slots_run(
        self, hours: VirtualClock, policy: KillSwitch | None, outage: Callable[[], tuple[Verdict, None]]
    ) -> None:
        guarded = Guarded(policy, hours.now_s)
        assert not guarded.judge(*outage()), "the message that met the outage first is requeued"
        assert (guarded.gate.limit, guarded.gate.reason) == (0, outage()[0].reason)
        await passed(hours, 5.0)
        assert guarded.gate.limit == 1
        assert guarded.monitor.is_watching
        guarded.record(None)
        assert guarded.gate.limit == 10
        assert guarded.flows == [Flow.SHUT, Flow.TRIAL, Flow.OPEN]
        assert guarded.monitor.is_watching is (policy is not None)

    async def test_a_failed_trial_is_kept_and_the_gate_rests_for_longer(
        self, hours: VirtualClock, policy: KillSwitch | None, outage: Callable[[], tuple[Verdict, None]]
    ) -> None:
        guarded = Guarded(policy, hours.now_s)
        guarded.judge(*outage())
        rests_s = []
        for _ in range(9):
            rests_s.append(guarded.gate.until_s - hours.now_s())
            await passed(hours, rests_s[-1])
            assert guarded.gate.limit == 1
            assert guarded.judge(*outage()), "kept"
        assert rests_s == pytest.approx([5, 5, 10, 20, 40, 80, 160, 300, 300])

    async def test_a_second_outage_begins_with_a_short_rest(
        self, hours: VirtualClock, policy: KillSwitch | None, outage: Callable[[], tuple[Verdict, None]]
    ) -> None:
        guarded = Guarded(policy, hours.now_s)
        for _ in range(2):
            guarded.judge(*outage())
            for rest_s in (5.0, 5.0):
                await passed(hours, rest_s)
                guarded.judge(*outage())
            assert guarded.gate.until_s - hours.now_s() == pytest.approx(10.0)
            await passed(hours, 10.0)
            guarded.record(None)
            assert guarded.gate.is_open

    async def test_messages_refused_after_the_opening_are_kept(
        self, hours: VirtualClock, policy: KillSwitch | None, outage: Callable[[], tuple[Verdict, None]]
    ) -> None:
        guarded = Guarded(policy, hours.now_s)
        guarded.judge(*outage())
        until_s = guarded.gate.until_s
        assert guarded.judge(*outage(), epoch=0)
        assert guarded.gate.until_s == until_s

    async def test_it_says_nothing_of_the_handler(
        self, hours: VirtualClock, policy: KillSwitch | None, outage: Callable[[], tuple[Verdict, None]]
    ) -> None:
        guarded = Guarded(policy, hours.now_s)
        for _ in range(3):
            guarded.judge(*outage())
            await passed(hours, 400.0)
        assert guarded.meter.states == (["closed"] * len(guarded.meter.states) if policy else [])


class TestUncountedFailures:
    """Only what a breaker, a ``Pause`` or the kill switch counts shuts the gate again."""

    async def test_another_error_of_a_trial_leaves_the_gate_on_trial(self, hours: VirtualClock) -> None:
        guarded = Guarded(None, hours.now_s)
        guarded.judge(*paused())
        await passed(hours, 5.0)
        assert guarded.record(FAULT, FAULT) == [False, False], "they are requeued: it is their fault"
        assert (guarded.gate.limit, guarded.gate.reason) == (1, None)
        assert guarded.flows == [Flow.SHUT, Flow.TRIAL, Flow.TRIAL, Flow.TRIAL], "another one each time"
        guarded.record(None)
        assert guarded.gate.is_open

    async def test_a_kill_switch_counts_it_as_ever(self, hours: VirtualClock, guarded: Guarded) -> None:
        guarded.judge(*refused())
        await passed(hours, 5.0)
        guarded.record(FAULT, FAULT)
        assert guarded.gate.reason == RequeueReason.KILL_SWITCH


class TestBreaker:
    @pytest.fixture
    async def shop(self, hours: VirtualClock) -> Breaker:
        """Return a breaker that has just opened for 5 s."""
        breaker = Breaker("shop", failures=1, open_s=5.0, now_s=hours.now_s)
        fail(breaker)
        return breaker

    async def test_a_trial_fails_with_the_dependencys_own_error(
        self, hours: VirtualClock, shop: Breaker
    ) -> None:
        guarded = Guarded(None, hours.now_s)
        guarded.judge(*refused())
        await passed(hours, 5.0)
        fail(shop)
        assert guarded.record(FAULT) == [True], "kept, since the breaker has opened again"
        assert guarded.gate.reason == RequeueReason.BREAKER_OPEN
        assert guarded.gate.until_s - hours.now_s() == pytest.approx(5.0)

    async def test_the_trial_of_another_handler_counts_too(self, hours: VirtualClock, shop: Breaker) -> None:
        guarded = Guarded(None, hours.now_s)
        guarded.judge(*refused(6.0))
        await passed(hours, 5.0)
        fail(shop)
        await passed(hours, 1.0)
        assert guarded.gate.limit == 0, "no trial is wasted on a breaker that is known to be open"
        await passed(hours, 4.0)
        assert guarded.gate.limit == 1

    async def test_an_error_with_the_breaker_closed_is_the_messages_own(
        self, hours: VirtualClock, shop: Breaker
    ) -> None:
        guarded = Guarded(None, hours.now_s)
        guarded.judge(*refused())
        await passed(hours, 5.0)
        with shop:
            pass
        assert guarded.record(FAULT) == [False]

    async def test_one_goes_first_also_where_more_trials_are_left(
        self, hours: VirtualClock, guarded: Guarded
    ) -> None:
        guarded.record(FAULT, FAULT)
        guarded.judge(*refused(20.0))
        await passed(hours, 10.0)
        assert guarded.gate.limit == 0, "the breaker is open still"
        await passed(hours, 10.0)
        assert guarded.gate.limit == 1
        guarded.record(None)
        assert guarded.gate.limit == 1, "the kill switch's second trial"
        guarded.record(None)
        assert guarded.gate.limit == 10


def fail(breaker: Breaker) -> None:
    with pytest.raises(ConnectionError), breaker:
        raise ConnectionError("down")


async def test_a_person_who_resumes_a_pause_lets_one_message_go_first(hours: VirtualClock) -> None:
    guarded = Guarded(None, hours.now_s)
    guarded.judge(*paused(600.0))
    guarded.gate.open(RequeueReason.PAUSED)
    assert guarded.gate.limit == 1


async def test_a_pause_by_hand_needs_no_trial(hours: VirtualClock) -> None:
    guarded = Guarded(None, hours.now_s)
    guarded.gate.shut(RequeueReason.PAUSED, 5.0)
    await passed(hours, 5.0)
    assert guarded.gate.is_open


async def test_without_a_kill_switch_nothing_is_shown_and_nobody_need_tell(hours: VirtualClock) -> None:
    guarded = Guarded(None, hours.now_s)
    assert guarded.meter.states == []
    assert not guarded.monitor.is_watching


class TestBlock:
    """nsqd refuses what the handler publishes until a person acts."""

    @pytest.fixture
    async def blocked(self, hours: VirtualClock) -> Guarded:
        """A handler without a kill switch, on trial after a block."""
        guarded = Guarded(None, hours.now_s)
        guarded.monitor.block()
        assert guarded.gate.limit == 0
        guarded.gate.open(RequeueReason.DEAD_LETTER_FAILED)
        assert guarded.gate.limit == 1
        return guarded

    async def test_a_trial_that_publishes_nothing_ends_it(self, blocked: Guarded) -> None:
        blocked.record(None)
        assert blocked.gate.is_open
        assert not blocked.monitor.is_watching

    async def test_a_trial_that_publishes_ends_it_when_nsqd_has_confirmed(self, blocked: Guarded) -> None:
        blocked.monitor.judge(blocked.gate.epoch, SUCCESS, None, publishes=True)
        assert blocked.gate.limit == 1
        blocked.monitor.unblock()
        assert blocked.gate.is_open

    async def test_a_trial_that_fails_leaves_it_on_trial(self, blocked: Guarded) -> None:
        assert blocked.record(FAULT) == [False], "it is requeued"
        assert blocked.gate.limit == 1

    async def test_a_call_that_began_before_it_decides_nothing(self, blocked: Guarded) -> None:
        blocked.judge(SUCCESS, None, epoch=0)
        assert blocked.gate.limit == 1

    async def test_a_confirmed_publish_does_not_end_an_outage(self, hours: VirtualClock) -> None:
        guarded = Guarded(None, hours.now_s)
        guarded.judge(*refused())
        await passed(hours, 5.0)
        guarded.monitor.unblock()
        assert guarded.gate.limit == 1
