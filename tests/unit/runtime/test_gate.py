"""Gate: shut for reasons that end by time or by hand, narrow while on trial, and told to the connections."""

import math

import pytest

from nsqkit.policy.verdict import RequeueReason
from nsqkit.runtime.gate import Flow, Gate
from nsqkit.testing.clock import VirtualClock
from tests.unit.runtime.bench import RecordingLog, passed, timers

PAUSED, SWITCH, BREAKER = RequeueReason.PAUSED, RequeueReason.KILL_SWITCH, RequeueReason.BREAKER_OPEN


class Watched:
    """A gate of five slots, and what it says to whom."""

    def __init__(self) -> None:
        self.log = RecordingLog()
        self.flows: list[Flow] = []
        self.limits: list[int] = []
        self.gate = Gate(5, apply=self.flows.append, log=self.log)
        self.gate.on_change(lambda: self.limits.append(self.gate.limit))

    def lines(self) -> list[tuple[str, str]]:
        return [(name, str(fields["reason"])) for _, name, fields in self.log.lines]


@pytest.fixture
async def watched(hours: VirtualClock) -> Watched:
    return Watched()


class TestShut:
    async def test_at_first_it_is_open_for_all_slots_and_nothing_needs_saying(self, watched: Watched) -> None:
        gate = watched.gate
        assert (gate.limit, gate.reason, gate.until_s, gate.is_on_trial) == (5, None, 0.0, False)
        assert watched.flows == []

    async def test_shut_for_a_time_it_opens_by_itself(self, hours: VirtualClock, watched: Watched) -> None:
        watched.gate.shut(PAUSED, 10.0)
        assert (watched.gate.limit, watched.gate.reason) == (0, PAUSED)
        assert watched.gate.until_s == hours.now_s() + 10.0
        await passed(hours, 9.9)
        assert watched.flows == [Flow.SHUT]
        await passed(hours, 0.1)
        assert watched.flows == [Flow.SHUT, Flow.OPEN]
        assert watched.limits == [0, 5]
        assert watched.lines() == [("intake_paused", "paused"), ("intake_resumed", "paused")]

    async def test_shut_without_a_time_it_opens_by_hand_alone(
        self, hours: VirtualClock, watched: Watched
    ) -> None:
        watched.gate.shut(PAUSED)
        assert watched.gate.until_s == math.inf
        assert timers() == []
        await passed(hours, 100_000.0)
        assert watched.gate.limit == 0
        assert watched.gate.open(PAUSED)
        assert not watched.gate.open(PAUSED), "it was"
        assert watched.limits == [0, 5]

    @pytest.mark.parametrize(
        ("times_s", "until_s"),
        [
            pytest.param((10.0, 5.0), 10.0, id="a shorter time changes nothing"),
            pytest.param((5.0, 10.0), 10.0, id="a longer one takes its place"),
            pytest.param((5.0, math.inf), math.inf, id="for ever is longer"),
            pytest.param((math.inf, 5.0), math.inf, id="and is not cut short"),
        ],
    )
    async def test_for_one_reason_the_time_that_ends_last_counts(
        self, hours: VirtualClock, watched: Watched, times_s: tuple[float, float], until_s: float
    ) -> None:
        for for_s in times_s:
            watched.gate.shut(PAUSED, for_s)
        assert watched.gate.until_s - hours.now_s() == pytest.approx(until_s)
        assert len(timers()) == (0 if until_s == math.inf else 1)

    async def test_it_is_open_when_all_reasons_are_gone(self, hours: VirtualClock, watched: Watched) -> None:
        watched.gate.shut(PAUSED, 10.0)
        watched.gate.shut(SWITCH, 20.0)
        watched.gate.shut(BREAKER, 15.0)
        assert watched.gate.reason == SWITCH, "it ends last"
        await passed(hours, 17.0)
        assert watched.gate.reason is SWITCH
        assert watched.gate.limit == 0
        await passed(hours, 3.0)
        assert watched.gate.limit == 5
        assert watched.flows == [Flow.SHUT, Flow.OPEN], "told once"

    async def test_one_reason_opened_by_hand_leaves_the_others(self, watched: Watched) -> None:
        watched.gate.shut(PAUSED)
        watched.gate.shut(SWITCH, 20.0)
        watched.gate.open(PAUSED)
        assert (watched.gate.limit, watched.gate.reason) == (0, SWITCH)

    async def test_trials_are_asked_for_before_it_opens(self, hours: VirtualClock, watched: Watched) -> None:
        watched.gate.on_open(lambda: 2)
        watched.gate.shut(SWITCH, 10.0)
        await passed(hours, 10.0)
        assert watched.limits == [0, 2]
        assert watched.flows == [Flow.SHUT, Flow.TRIAL], "at no moment open"

    async def test_it_may_be_shut_again_before_it_opens(self, hours: VirtualClock, watched: Watched) -> None:
        watched.gate.on_open(lambda: watched.gate.shut(BREAKER, 5.0))
        watched.gate.shut(SWITCH, 10.0)
        await passed(hours, 10.0)
        assert watched.flows == [Flow.SHUT], "at no moment open"
        assert (watched.gate.reason, watched.gate.limit) == (BREAKER, 0)

    async def test_only_an_outage_begins_an_epoch(self, hours: VirtualClock, watched: Watched) -> None:
        watched.gate.shut(PAUSED, 5.0)
        await passed(hours, 5.0)
        assert watched.gate.epoch == 0
        watched.gate.rest(SWITCH, 5.0)
        watched.gate.rest(BREAKER, 1.0)
        assert watched.gate.epoch == 2
        await passed(hours, 5.0)
        assert watched.gate.epoch == 2


class TestTrial:
    async def test_it_is_narrow_and_wide_again(self, watched: Watched) -> None:
        for trials in (3, 1, 100, None):
            watched.gate.probe(trials)
        assert watched.limits == [3, 1, 5, 5]
        assert watched.flows == [Flow.TRIAL, Flow.TRIAL, Flow.TRIAL, Flow.OPEN]
        assert not watched.gate.is_on_trial

    async def test_each_trial_is_told_because_it_counts_from_what_is_held(self, watched: Watched) -> None:
        watched.gate.probe(1)
        watched.gate.repeat_trial()
        assert watched.flows == [Flow.TRIAL, Flow.TRIAL]
        assert watched.limits == [1], "that is no change"

    async def test_no_message_is_asked_for_while_one_waits(self, watched: Watched) -> None:
        waiting = [True]
        watched.gate.on_change(lambda: None, lambda: bool(waiting))
        watched.gate.probe(1)
        assert watched.flows == [Flow.SHUT]
        waiting.clear()
        watched.gate.repeat_trial()
        assert watched.flows == [Flow.SHUT, Flow.TRIAL]

    @pytest.mark.parametrize("state", ["open", "shut", "quarantined"])
    async def test_one_more_is_asked_for_on_trial_only(self, watched: Watched, state: str) -> None:
        if state != "open":
            watched.gate.probe(1)
        if state == "shut":
            watched.gate.shut(PAUSED)
        if state == "quarantined":
            watched.gate.quarantine(is_on=True)
        told = len(watched.flows)
        watched.gate.repeat_trial()
        assert len(watched.flows) == told


class TestQuarantine:
    async def test_nothing_is_taken_in_and_what_is_held_runs_on(self, watched: Watched) -> None:
        watched.gate.quarantine(is_on=True)
        assert watched.flows == [Flow.SHUT]
        assert watched.gate.limit == 5
        watched.gate.quarantine(is_on=False)
        assert watched.flows == [Flow.SHUT, Flow.OPEN]
        assert watched.limits == []

    async def test_a_pause_that_ends_meanwhile_does_not_end_it(self, watched: Watched) -> None:
        watched.gate.shut(PAUSED)
        watched.gate.quarantine(is_on=True)
        watched.gate.open(PAUSED)
        assert watched.flows == [Flow.SHUT]
        watched.gate.quarantine(is_on=False)
        assert watched.flows == [Flow.SHUT, Flow.OPEN]

    async def test_a_trial_goes_on_after_it(self, watched: Watched) -> None:
        watched.gate.probe(1)
        watched.gate.quarantine(is_on=True)
        watched.gate.quarantine(is_on=False)
        assert watched.flows == [Flow.TRIAL, Flow.SHUT, Flow.TRIAL]


class TestClose:
    async def test_it_is_shut_for_good_and_leaves_no_timer(
        self, hours: VirtualClock, watched: Watched
    ) -> None:
        watched.gate.shut(PAUSED, 10.0)
        watched.gate.close()
        assert timers() == []
        watched.gate.shut(SWITCH, 10.0)
        watched.gate.open(PAUSED)
        watched.gate.probe(1)
        watched.gate.quarantine(is_on=True)
        await passed(hours, 100.0)
        assert watched.gate.limit == 0
        assert watched.flows == [Flow.SHUT], "the drain tells the connections what it wants of them"
        assert timers() == []
