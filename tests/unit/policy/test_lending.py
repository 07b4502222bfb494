"""Lending: where max_in_flight is too small for all connections, idle ones lend their part, in turns."""

import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.flow import LoadEstimate
from nsqkit.policy.lending import Lending
from tests.unit.policy import nsqd_model
from tests.unit.policy.nsqd_model import FLOOD


class Handler:
    """The connections of one handler, with a clock that a test sets; nothing is ever on its way."""

    def __init__(self, connections: int, budget: int) -> None:
        self.now_s = 100.0
        self.budget = budget
        self.lending = Lending()
        self.loads = [LoadEstimate() for _ in range(connections)]
        self._answered = [0] * connections

    def share(self, *, after_s: float = 0.0) -> list[int]:
        self.now_s += after_s
        for load, answered in zip(self.loads, self._answered, strict=True):
            load.look(load.received, answered, age_s=0.0, now_s=self.now_s)
        claims = [load.claim(self.budget, now_s=self.now_s) for load in self.loads]
        return [*self.lending.share(self.loads, claims, self.budget, now_s=self.now_s)]

    def arrive(self, at: int, messages: int = 1) -> list[int]:
        load = self.loads[at]
        load.look(load.received + messages, self._answered[at], age_s=0.0, now_s=self.now_s)
        return self.share()

    def answer(self, at: int, messages: int = 1) -> list[int]:
        self._answered[at] += messages
        return self.share()

    def next(self) -> list[int]:
        """Share when that is due."""
        return self.share(after_s=self.lending.due_s(self.loads) - self.now_s)

    def flood(self, *flooded: int) -> None:
        """Let connections bring what they may, until they may bring no more."""
        while roomy := [at for at in flooded if self.loads[at].rdy > self.loads[at].busy]:
            for at in roomy:
                self.arrive(at, max(0, self.loads[at].rdy - self.loads[at].busy))

    @property
    def in_s(self) -> float:
        """Seconds until the next time that sharing is due."""
        return self.lending.due_s(self.loads) - self.now_s

    def most(self) -> int:
        """Return how many messages can be in flight without another command."""
        return sum(max(load.rdy, load.busy) for load in self.loads)


def quiet(connections: int, budget: int) -> Handler:
    """Return a handler whose connections are idle."""
    handler = Handler(connections, budget)
    handler.share()
    for _ in range(3 * connections):
        handler.share(after_s=min(handler.in_s, 1.0))
    return handler


class TestTurns:
    def test_nothing_is_due_where_there_is_enough_for_all(self) -> None:
        handler = Handler(3, 3)
        assert handler.share() == [1, 1, 1]
        assert handler.in_s == math.inf
        assert not handler.lending.is_scarce

    def test_idle_connections_take_turns_that_grow_to_50_ms(self) -> None:
        handler = quiet(3, 1)
        turns = [handler.next().index(1) for _ in range(6)]
        assert sorted(turns[:3]) == [0, 1, 2]
        assert turns[3:] == turns[:3]
        assert handler.in_s == pytest.approx(0.05)

    def test_one_of_several_parts_moves_on_at_a_time(self) -> None:
        handler = quiet(5, 3)
        before = handler.next()
        for _ in range(10):
            after = handler.next()
            assert sum(after) == 3
            assert sum(abs(a - b) for a, b in zip(before, after, strict=True)) == 2
            before = after

    def test_a_turn_that_is_passed_on_is_shared_as_one_that_is_computed(self) -> None:
        computed, passed = quiet(5, 2), quiet(5, 2)
        for _ in range(12):
            assert not passed.lending.pass_turn(passed.loads, now_s=passed.now_s + 0.04), "not over yet"
            passed.now_s += passed.in_s
            assert passed.lending.pass_turn(passed.loads, now_s=passed.now_s)
            assert [load.rdy for load in passed.loads] == computed.next()
            assert passed.in_s == computed.in_s

    def test_a_turn_is_passed_on_only_while_all_are_idle(self) -> None:
        handler = quiet(3, 2)
        at = next(index for index, load in enumerate(handler.loads) if load.rdy)
        handler.arrive(at)
        assert not handler.lending.pass_turn(handler.loads, now_s=handler.now_s + 1.0)
        handler.loads[at].is_idle = True
        assert not handler.lending.pass_turn(handler.loads, now_s=handler.now_s + 1.0), "one is in flight"

    @pytest.mark.parametrize("rdy", [0, 1])
    def test_a_turn_is_passed_on_only_if_one_has_it_and_another_waits(self, rdy: int) -> None:
        handler = quiet(3, 1)
        for load in handler.loads:
            load.rdy = rdy
        assert not handler.lending.pass_turn(handler.loads, now_s=handler.now_s + 1.0)

    def test_turns_are_short_after_an_answer(self) -> None:
        handler = quiet(3, 1)
        at = handler.next().index(1)
        handler.arrive(at)
        handler.answer(at)
        assert handler.in_s == pytest.approx(0.005)
        handler.next()
        assert handler.in_s == pytest.approx(0.005)

    def test_a_connection_that_brings_messages_keeps_its_part(self) -> None:
        handler = quiet(3, 1)
        at = handler.next().index(1)
        for _ in range(10):
            handler.now_s += 0.004
            handler.arrive(at)
            assert handler.answer(at)[at] == 1

    def test_what_a_slow_handler_holds_is_given_to_no_other_and_nothing_is_due(self) -> None:
        handler = quiet(3, 1)
        at = handler.next().index(1)
        handler.arrive(at)
        while handler.in_s < math.inf:
            handler.next()
        assert (handler.most(), handler.lending.is_waiting) == (1, True)
        assert sum(handler.answer(at)) == 1
        assert handler.loads[at].rdy == 0, "another one is probed"

    def test_more_busy_connections_than_messages_take_turns_too(self) -> None:
        handler = Handler(3, 1)
        handler.share()
        served = []
        for _ in range(6):
            at = next(index for index, load in enumerate(handler.loads) if load.rdy)
            handler.arrive(at)
            while handler.in_s < math.inf:
                handler.next()
            assert handler.loads[at].rdy == 0, "before the answer, so that no other message follows it"
            served.append(at)
            handler.answer(at)
        assert sorted(served[:3]) == [0, 1, 2]
        assert served[3:] == served[:3]


class TestFlood:
    def test_idle_connections_lend_what_a_backlog_can_use_and_are_probed_one_by_one(self) -> None:
        handler = quiet(6, 6)
        probed = set()
        handler.flood(0)
        assert handler.loads[0].rdy == 6
        for _ in range(200):
            rdy = handler.share(after_s=min(handler.in_s, 0.001))
            assert rdy[0] >= 5
            assert sum(rdy[1:]) <= 1
            probed |= {index for index in range(1, 6) if handler.answer(0)[index]}
            handler.flood(0)
        assert probed == {1, 2, 3, 4, 5}

    def test_a_probe_that_brings_a_message_makes_its_connection_busy(self) -> None:
        handler = quiet(2, 1)
        while handler.loads[0].rdy == 0:
            handler.next()
        handler.arrive(0)
        while handler.in_s < math.inf:
            handler.next()
        assert handler.answer(0) == [0, 1]
        assert handler.arrive(1) == [0, 1]
        assert not handler.loads[1].is_idle

    @pytest.mark.parametrize(("connections", "budget"), [(11, 100), (3, 20), (2, 10)])
    def test_few_idle_connections_keep_1_each(self, connections: int, budget: int) -> None:
        handler = quiet(connections, budget)
        kept = connections - 1
        handler.flood(0)
        assert [load.rdy for load in handler.loads] == [budget - kept, *[1] * kept]
        assert handler.in_s == math.inf

    def test_those_that_keep_1_each_do_so_among_connections_that_are_many(self) -> None:
        """The rule is about the idle ones, not about all."""
        handler = quiet(4, 20)
        handler.flood(0, 1)
        assert [load.rdy for load in handler.loads] == [9, 9, 1, 1]


class TestOneMore:
    def test_it_is_each_connections_in_turn_in_addition_to_messages_in_flight(self) -> None:
        handler = Handler(3, 100)
        for at, held in enumerate((2, 0, 1)):
            handler.loads[at].look(held, 0, age_s=0.0, now_s=100.0)
        handler.lending.restart(now_s=100.0)
        seen = []
        for _ in range(3):
            seen.append(handler.lending.share_one(handler.loads, now_s=handler.now_s))
            assert handler.in_s == pytest.approx(0.005)
            handler.now_s += 0.005
        assert sorted(seen) == [(0, 0, 2), (0, 1, 0), (3, 0, 0)]

    def test_one_connection_needs_no_turns(self) -> None:
        handler = Handler(1, 100)
        assert handler.lending.share_one(handler.loads, now_s=handler.now_s) == (1,)
        assert handler.in_s == math.inf

    def test_after_stop_nothing_is_due(self) -> None:
        handler = quiet(3, 1)
        handler.lending.stop()
        assert (handler.in_s, handler.lending.is_scarce, handler.lending.is_lending) == (
            math.inf,
            False,
            False,
        )


@given(
    st.integers(1, 8),
    st.integers(1, 30),
    st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 5), st.integers(0, 5), st.floats(0.0, 0.1)), max_size=60
    ),
)
def test_no_more_than_the_budget_can_be_in_flight_and_something_can_unless_all_is(
    connections: int, budget: int, steps: list[tuple[int, int, int, float]]
) -> None:
    """A handler that was fast so far may get nothing until the next look, which is due soon."""
    handler = Handler(connections, budget)
    handler.share()
    for at, arrived, answered, after_s in steps:
        load = handler.loads[at % connections]
        handler.arrive(at % connections, min(arrived, max(0, load.rdy - load.busy)))
        handler.answer(at % connections, min(answered, load.busy))
        handler.share(after_s=after_s)
        busy = sum(load.busy for load in handler.loads)
        assert handler.most() <= budget
        is_due = any(load.due_s <= handler.now_s + 0.002 for load in handler.loads if load.busy)
        assert handler.most() > busy or busy == budget or is_due


@given(st.integers(2, 6), st.integers(1, 8), st.data())
def test_every_connection_gets_its_turn_whatever_the_others_do(
    connections: int, budget: int, data: st.DataObject
) -> None:
    """Connection 0 has nothing; the others bring what they may, and are answered soon or late."""
    handler = Handler(connections, budget)
    handler.share()
    waited_s = 0.0
    for _ in range(60):
        for at in range(1, connections):
            load = handler.loads[at]
            if load.rdy > load.busy and data.draw(st.booleans()):
                handler.arrive(at, load.rdy - load.busy)
            if load.busy and (data.draw(st.booleans()) or handler.in_s == math.inf):
                handler.answer(at, load.busy)
        before_s, is_full = handler.now_s, sum(load.busy for load in handler.loads) == budget
        handler.share(after_s=min(handler.in_s, 0.02))
        if not is_full:  # else there is nothing to give to connection 0
            waited_s += handler.now_s - before_s
        waited_s = 0.0 if handler.loads[0].rdy else waited_s
        assert waited_s < 0.1 * connections


def taken_ms(latencies_s: list[float], ratio: float) -> float:
    """Return the latency that this part of the messages does not exceed."""
    return sorted(latencies_s)[int(ratio * (len(latencies_s) - 1))] * 1000


@pytest.mark.parametrize(
    ("nsqds", "max_in_flight", "per_s", "handler_s", "p50_ms", "p99_ms"),
    [
        pytest.param(3, 1, 1.0, 0.0, 40.0, 105.0, id="the first after a silence waits for a round"),
        pytest.param(3, 1, 20.0, 0.0, 12.0, 90.0, id="three nsqd, one in flight"),
        pytest.param(3, 1, 20.0, 0.02, 25.0, 160.0, id="the same with a handler that takes 20 ms"),
        pytest.param(10, 5, 100.0, 0.0, 5.0, 70.0, id="ten nsqd, five in flight"),
        pytest.param(10, 5, 100.0, 0.02, 15.0, 90.0, id="the same with a handler that takes 20 ms"),
        pytest.param(6, 6, 100.0, 0.02, 5.0, 40.0, id="as many as there are nsqd"),
    ],
)
def test_latency_stays_low_with_less_in_flight_than_there_are_nsqd(  # noqa: PLR0917 - a table
    nsqds: int, max_in_flight: int, per_s: float, handler_s: float, p50_ms: float, p99_ms: float
) -> None:
    consumer = nsqd_model.run(
        per_s, handler_s, for_s=500.0 / per_s, nsqds=nsqds, max_in_flight=max_in_flight, is_spread=True
    )
    assert len(consumer.latencies_s) == sum(len(line.pump.channel.published_s) for line in consumer.lines)
    assert taken_ms(consumer.latencies_s, 0.5) < p50_ms
    assert taken_ms(consumer.latencies_s, 0.99) < p99_ms
    assert max(consumer.totals) <= max_in_flight
    assert consumer.most_in_flight <= max_in_flight + nsqds - 1


@pytest.mark.parametrize("handler_s", [0.002, 0.02])
@pytest.mark.parametrize(
    ("nsqds", "max_in_flight", "flooded"),
    [
        pytest.param(6, 6, 1, id="one backlog on six nsqd, six in flight"),
        pytest.param(10, 10, 1, id="one on ten, ten in flight"),
        pytest.param(10, 5, 1, id="one on ten, five in flight"),
        pytest.param(3, 1, 1, id="one on three, one in flight"),
        pytest.param(10, 5, 4, id="four on ten, five in flight"),
        pytest.param(10, 5, 10, id="ten on ten, five in flight"),
        pytest.param(3, 1, 3, id="three on three, one in flight"),
    ],
)
def test_a_backlog_gets_nearly_all_of_max_in_flight_wherever_it_is(
    nsqds: int, max_in_flight: int, flooded: int, handler_s: float
) -> None:
    load = partial(nsqd_model.run, FLOOD, handler_s, for_s=1.0, max_in_flight=max_in_flight)
    consumer, alone = load(nsqds=nsqds, flooded=flooded), load(nsqds=1, is_fixed=True)
    assert len(consumer.latencies_s) > 0.85 * len(alone.latencies_s)
    counts = [len(line.latencies_s) for line in consumer.lines[:flooded]]
    assert min(counts) > 0.45 * max(counts)  # one of four has 2 of five
    assert max(consumer.totals) <= max_in_flight
    assert consumer.most_in_flight <= max_in_flight + nsqds - 1


@pytest.mark.parametrize(("nsqds", "max_in_flight"), [(3, 1), (6, 6), (10, 5)])
def test_the_others_messages_are_seen_soon_next_to_a_backlog(nsqds: int, max_in_flight: int) -> None:
    consumer = nsqd_model.run(
        20.0, 0.02, for_s=8.0, nsqds=nsqds, max_in_flight=max_in_flight, flooded=1, is_spread=True
    )
    lines = consumer.lines[1:]
    latencies_s = [latency_s for line in lines for latency_s in line.latencies_s]
    assert len(latencies_s) == sum(len(line.pump.channel.published_s) for line in lines)
    assert taken_ms(latencies_s, 0.5) < 150.0
    assert taken_ms(latencies_s, 0.99) < 350.0


@pytest.mark.parametrize(("nsqds", "max_in_flight"), [(3, 1), (10, 5), (40, 3)])
def test_an_idle_worker_wakes_20_times_a_second(nsqds: int, max_in_flight: int) -> None:
    consumer = nsqd_model.run(FLOOD, 0.0, for_s=60.0, nsqds=nsqds, max_in_flight=max_in_flight, flooded=0)
    assert 60 * 20 <= consumer.looks <= 60 * 20 + 50
    assert consumer.commands <= 2 * consumer.looks + 2 * nsqds


def test_an_idle_worker_with_enough_in_flight_never_wakes() -> None:
    consumer = nsqd_model.run(FLOOD, 0.0, for_s=60.0, nsqds=3, max_in_flight=3, flooded=0)
    assert consumer.looks == 0
