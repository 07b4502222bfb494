"""Flow: max_in_flight is shared among connections without loss and evenly; RDY follows the load."""

import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.flow import LoadEstimate, fair_shares, rdy_shares
from tests.unit.policy import nsqd_model
from tests.unit.policy.nsqd_model import FLOOD, Consumer

BUDGETS = st.integers(0, 2500)
CONNECTIONS = st.integers(1, 64)


@pytest.mark.parametrize(
    ("budget", "connections", "expected"),
    [
        pytest.param(100, 0, (), id="without a connection there is nothing to share"),
        pytest.param(100, 1, (100,), id="one connection gets all"),
        pytest.param(100, 4, (25, 25, 25, 25), id="an even budget is shared evenly"),
        pytest.param(10, 4, (3, 3, 2, 2), id="the remainder is used"),
        pytest.param(1, 3, (1, 0, 0), id="a small budget serves the first"),
        pytest.param(0, 3, (0, 0, 0), id="a paused handler gives RDY 0 to all"),
        pytest.param(0, 0, (), id="nothing for nobody"),
    ],
)
def test_shares(budget: int, connections: int, expected: tuple[int, ...]) -> None:
    assert rdy_shares(budget, connections) == expected


@given(BUDGETS, CONNECTIONS)
def test_shares_are_the_whole_budget_and_differ_by_one_at_most(budget: int, connections: int) -> None:
    shares = rdy_shares(budget, connections)
    assert len(shares) == connections
    assert sum(shares) == budget
    assert max(shares) - min(shares) <= 1
    assert all(type(share) is int for share in shares)


@pytest.mark.parametrize(("budget", "connections"), [(-1, 1), (1, -1), (-1, 0)])
def test_negative_numbers_are_refused_by_name(budget: int, connections: int) -> None:
    with pytest.raises(ValueError, match=rf"^budget={budget} connections={connections}$"):
        rdy_shares(budget, connections)


def taken_ms(consumer: Consumer, ratio: float) -> float:
    """Return the latency that this part of the messages does not exceed."""
    latencies_s = sorted(consumer.latencies_s)
    return latencies_s[int(ratio * (len(latencies_s) - 1))] * 1000


def test_the_model_has_the_latency_that_a_fixed_rdy_has_on_a_real_nsqd() -> None:
    """Measured with RDY 200 at 100 messages a second: 12 to 13 ms, and 25 to 26 ms."""
    consumer = nsqd_model.run(100.0, 0.0, for_s=20.0, is_fixed=True)
    assert 12.0 < taken_ms(consumer, 0.5) < 14.0
    assert 24.0 < taken_ms(consumer, 0.99) < 26.0


@pytest.mark.parametrize("nsqds", [1, 4])
@pytest.mark.parametrize("handler_s", [0.0, 0.001, 0.05])
@pytest.mark.parametrize(
    ("per_s", "for_s", "p50_ms", "p99_ms"),
    [
        pytest.param(20.0, 20.0, 0.2, 1.0, id="at 20 a second each message is sent at once"),
        pytest.param(100.0, 20.0, 0.2, 3.0, id="at 100 a second nearly each one"),
        pytest.param(1000.0, 2.0, 1.2, 6.5, id="at 1,000 a second a few share their way"),
        pytest.param(5000.0, 0.5, 1.5, 5.0, id="at 5,000 a second a dozen do"),
    ],
)
def test_latency_stays_low(  # noqa: PLR0917 - a table
    per_s: float, for_s: float, p50_ms: float, p99_ms: float, handler_s: float, nsqds: int
) -> None:
    consumer = nsqd_model.run(per_s, handler_s, for_s=for_s, nsqds=nsqds, max_in_flight=500)
    assert len(consumer.latencies_s) == sum(len(line.pump.channel.published_s) for line in consumer.lines)
    assert taken_ms(consumer, 0.5) < p50_ms
    assert taken_ms(consumer, 0.99) < p99_ms
    assert max(consumer.latencies_s) < 0.009


@pytest.mark.parametrize("handler_s", [0.0, 0.001])
@pytest.mark.parametrize(
    ("per_s", "chunks", "commands", "looks"),
    [
        pytest.param(
            20.0, 1.0, 0.01, 0.01, id="at 20 a second each one comes alone, and nothing else happens"
        ),
        pytest.param(100.0, 1.0, 0.02, 0.01, id="so it is at 100"),
        pytest.param(400.0, 0.85, 0.25, 0.1, id="at 400 some come in pairs, and RDY changes most"),
        pytest.param(1000.0, 0.4, 0.1, 0.03, id="at 1,000 three share a chunk"),
        pytest.param(5000.0, 0.11, 0.01, 0.01, id="at 5,000 ten do"),
    ],
)
def test_fast_handlers_cost_few_chunks_commands_and_timers(
    per_s: float, chunks: float, commands: float, looks: float, handler_s: float
) -> None:
    """Shares of the number of messages."""
    consumer = nsqd_model.run(per_s, handler_s, for_s=4000.0 / per_s)
    count = len(consumer.latencies_s)
    assert consumer.chunks <= chunks * count
    assert consumer.commands <= commands * count
    assert consumer.looks <= looks * count


@pytest.mark.parametrize("per_s", [20.0, 100.0, 1000.0, 5000.0])
def test_a_slow_handler_costs_no_more_than_two_commands_and_few_timers(per_s: float) -> None:
    consumer = nsqd_model.run(per_s, 0.02, for_s=4000.0 / per_s)
    assert consumer.commands < 2.05 * len(consumer.latencies_s)
    assert consumer.looks < 0.05 * len(consumer.latencies_s)


@pytest.mark.parametrize("handler_s", [0.0, 0.0005, 0.002, 0.01, 0.05])
@pytest.mark.parametrize(
    ("nsqds", "max_in_flight"),
    [
        pytest.param(1, 1, id="one message at a time"),
        pytest.param(1, 10, id="a small max_in_flight"),
        pytest.param(1, 200, id="a large one"),
        pytest.param(4, 4, id="as many nsqd as messages"),
        pytest.param(4, 10, id="a small one, shared"),
        pytest.param(4, 200, id="a large one, shared"),
    ],
)
def test_a_flood_gets_all_of_max_in_flight_and_no_more_and_is_handled_as_fast_as_with_a_fixed_rdy(
    handler_s: float, nsqds: int, max_in_flight: int
) -> None:
    """With a handler that answers at once, the luck of how chunks fall decides 30 % either way."""
    load = partial(
        nsqd_model.run,
        FLOOD,
        handler_s,
        for_s=max(0.1, 6 * handler_s),
        nsqds=nsqds,
        max_in_flight=max_in_flight,
    )
    consumer, fixed = load(), load(is_fixed=True)
    assert max(consumer.totals) == max_in_flight
    assert consumer.lowest_rdy >= 1
    assert consumer.most_in_flight <= max_in_flight + nsqds - 1
    assert consumer.commands < 20 + 0.1 * len(consumer.latencies_s)
    assert len(consumer.latencies_s) > (0.9 if handler_s else 0.65) * len(fixed.latencies_s)


def test_a_flood_on_one_nsqd_gets_what_idle_ones_leave() -> None:
    consumer = nsqd_model.run(20_000.0, 0.05, for_s=0.1, nsqds=10, max_in_flight=100)
    assert max(consumer.totals) == 100
    assert consumer.lines[0].load.rdy == 91
    assert [line.load.rdy for line in consumer.lines[1:]] == [1] * 9


def workers(count: int, *, handler_s: float, is_fixed: bool = False) -> list[partial[Consumer]]:
    worker = partial(Consumer, max_in_flight=200, handler_s=handler_s, is_fixed=is_fixed)
    return [worker] * count


@pytest.mark.parametrize("handler_s", [0.0, 0.05])
@pytest.mark.parametrize("per_s", [20.0, 100.0, 1000.0, 5000.0])
def test_latency_stays_low_with_several_workers(per_s: float, handler_s: float) -> None:
    consumers = nsqd_model.compete(per_s, workers(3, handler_s=handler_s), for_s=2000.0 / per_s, nsqds=2)
    latencies_s = sorted(latency_s for consumer in consumers for latency_s in consumer.latencies_s)
    assert latencies_s[len(latencies_s) // 2] < 0.0015
    assert latencies_s[-1] < 0.009


@pytest.mark.parametrize("handler_s", [0.0, 0.0005, 0.01])
def test_workers_share_a_flood_and_handle_it_as_fast_as_with_a_fixed_rdy(handler_s: float) -> None:
    """For 0.4 s, so that it does not matter much which of them is first."""
    flood = partial(nsqd_model.compete, FLOOD, for_s=0.4, nsqds=2)
    counts = [len(each.latencies_s) for each in flood(workers(3, handler_s=handler_s))]
    fixed = [len(each.latencies_s) for each in flood(workers(3, handler_s=handler_s, is_fixed=True))]
    assert sum(counts) > 0.95 * sum(fixed)
    assert min(counts) > 0.8 * max(counts)


@pytest.mark.parametrize("handlers", [10, 30, 100])
def test_many_handlers_of_one_process_clear_their_backlogs_as_fast_as_with_a_fixed_rdy(handlers: int) -> None:
    """Each has a small part of the process, so that its rate alone would give it little room."""
    load = partial(nsqd_model.run, FLOOD, 0.0, for_s=0.5, nsqds=handlers, are_handlers=True)
    consumer, fixed = load(), load(is_fixed=True)
    assert len(consumer.latencies_s) > 0.95 * len(fixed.latencies_s)
    assert consumer.commands < 0.01 * len(consumer.latencies_s)


@pytest.mark.parametrize("ahead_s", [0.05, 3600.0])
@pytest.mark.parametrize("per_s", [20.0, 100.0, 1000.0])
def test_a_clock_that_is_ahead_of_nsqds_costs_no_more_latency_than_a_fixed_rdy(
    per_s: float, ahead_s: float
) -> None:
    """Then each message seems to have waited, as a deferred one does."""
    load = partial(nsqd_model.run, per_s, 0.0, for_s=2000.0 / per_s)
    consumer, fixed = load(ahead_s=ahead_s), load(is_fixed=True)
    assert taken_ms(consumer, 0.5) < 1.01 * taken_ms(fixed, 0.5)
    assert taken_ms(consumer, 0.99) < 1.01 * taken_ms(fixed, 0.99)


def test_a_clock_that_is_behind_nsqds_changes_nothing() -> None:
    load = partial(nsqd_model.run, 1000.0, 0.0, for_s=1.0)
    assert load(ahead_s=-3600.0).latencies_s == load().latencies_s


def test_nothing_known_claims_one() -> None:
    load = LoadEstimate()
    assert (load.rdy, load.busy, load.quiet_s) == (0, 0, -math.inf)
    load.look(0, 0, age_s=0.0, now_s=0.0)
    assert load.claim(100, now_s=0.0) == 1
    assert load.due_s == math.inf


def idle(load: LoadEstimate, now_s: float) -> bool:
    load.look_idle(now_s=now_s)
    return load.is_idle


def test_a_connection_is_idle_5_ms_after_it_got_room_if_it_brings_nothing() -> None:
    load = LoadEstimate()
    load.look(0, 0, age_s=0.0, now_s=1.0)
    assert load.idle_s == math.inf
    assert not idle(load, 9.0), "without room it can bring nothing"
    assert load.grant(1, now_s=10.0)
    assert not load.grant(2, now_s=10.004), "it has had room since"
    assert load.idle_s == 10.005
    assert not idle(load, 10.0049)
    assert idle(load, 10.005)


def test_a_message_ends_idleness_and_an_answer_gives_room_only_where_there_was_none() -> None:
    load = LoadEstimate(rdy=2, is_idle=True)
    load.look(2, 0, age_s=0.0, now_s=1.0)
    assert (load.is_idle, load.idle_s) == (False, math.inf)
    load.look(2, 1, age_s=0.0, now_s=3.0)
    assert load.idle_s == 3.005
    load.look(2, 2, age_s=0.0, now_s=3.004)
    assert load.idle_s == 3.005
    load.look(3, 2, age_s=0.0, now_s=3.004)
    assert load.idle_s == 3.009


def test_a_connection_that_lends_stays_idle_until_a_message_arrives() -> None:
    load = LoadEstimate(rdy=1, is_idle=True)
    assert not load.grant(0, now_s=1.0)
    assert idle(load, 100.0)
    load.look(1, 1, age_s=0.0, now_s=100.0)
    assert not load.is_idle


def test_the_time_of_the_last_change_is_that_of_an_arrival_or_an_answer() -> None:
    load = LoadEstimate()
    assert load.changed_s == -math.inf
    for received, answered, now_s, expected_s in [(1, 0, 1.0, 1.0), (1, 0, 2.0, 1.0), (1, 1, 3.0, 3.0)]:
        load.look(received, answered, age_s=0.0, now_s=now_s)
        assert load.changed_s == expected_s
    load.look(2, 2, age_s=0.0, now_s=4.0)
    assert load.changed_s == 4.0, "an arrival that was answered at once is one too"


def test_one_more_than_is_held_is_claimed() -> None:
    load = LoadEstimate(rdy=1)
    load.look(1, 0, age_s=0.0, now_s=100.0)
    assert load.busy == 1
    assert load.claim(100, now_s=100.0) == 2


def test_no_more_than_the_most_is_claimed_whatever_is_held() -> None:
    load = LoadEstimate(rdy=5)
    load.look(7, 0, age_s=0.0, now_s=100.0)
    assert load.claim(5, now_s=100.0) == 5


def test_what_comes_within_2_and_a_half_ms_is_claimed_on_top() -> None:
    """10,000 a second are 25."""
    load = LoadEstimate(rdy=1)
    for turn in range(1, 101):
        load.look(turn * 10, turn * 10, age_s=0.0, now_s=turn * 0.001)
    assert 25 <= load.claim(100, now_s=0.1) <= 26


@pytest.mark.parametrize("chunk", [1, 3, 20])
def test_the_estimate_does_not_depend_on_how_messages_are_joined(chunk: int) -> None:
    """1,000 a second are 2.5, whether they come one by one or 20 at a time."""
    load = LoadEstimate()
    for number in range(chunk, 1000, chunk):
        load.look(number, number, age_s=0.0, now_s=number * 0.001)
    assert 3 <= load.claim(100, now_s=number * 0.001) <= 4


@pytest.mark.parametrize(
    ("arrived", "held", "standing", "expected"),
    [
        pytest.param(105, 0, 0, 16, id="of 16 that are wanted, none is too few"),
        pytest.param(105, 0, 12, 16, id="less than three quarters are too few"),
        pytest.param(105, 0, 13, 13, id="more will do"),
        pytest.param(105, 0, 21, 21, id="so will less than four thirds"),
        pytest.param(105, 0, 22, 16, id="more are too many"),
        pytest.param(105, 10, 23, 23, id="what a slow handler holds is no room, so that 13 will do"),
        pytest.param(105, 10, 22, 26, id="and 12 are too few"),
        pytest.param(15, 0, 2, 3, id="of 3, two are too few"),
        pytest.param(15, 0, 4, 4, id="four thirds themselves will do"),
        pytest.param(15, 0, 5, 3, id="five are too many"),
    ],
)
def test_a_small_difference_is_not_worth_a_command(
    arrived: int, held: int, standing: int, expected: int
) -> None:
    load = LoadEstimate(rdy=standing)
    load.look(arrived, arrived - held, age_s=0.0, now_s=1.0)
    load.rdy = load.claim(1000, now_s=1.0)
    assert load.rdy == expected
    assert load.due_s == load.quiet_s


def test_after_7_ms_without_a_message_one_more_than_is_held_is_claimed() -> None:
    """That RDY makes nsqd send what its buffer holds."""
    load = LoadEstimate()
    load.look(100, 97, age_s=0.0, now_s=1.0)
    load.rdy = load.claim(1000, now_s=1.0)
    assert load.claim(1000, now_s=1.0069) > 4
    assert load.due_s == 1.007
    load.rdy = load.claim(1000, now_s=load.due_s)
    assert (load.rdy, load.due_s) == (4, math.inf)


def test_a_handler_that_answers_within_2_ms_needs_no_command() -> None:
    load = LoadEstimate(rdy=1)
    load.look(1, 1, age_s=0.0, now_s=1.0)
    load.look(2, 1, age_s=0.0, now_s=2.0)
    assert (load.claim(100, now_s=2.0), load.due_s) == (1, 2.002)
    load.look(2, 2, age_s=0.0, now_s=2.0019)
    assert (load.claim(100, now_s=2.0019), load.due_s) == (1, math.inf)


def test_a_handler_that_turns_out_to_be_slow_gets_another_message_at_once_from_then_on() -> None:
    load = LoadEstimate(rdy=1)
    load.look(1, 1, age_s=0.0, now_s=1.0)
    load.look(2, 1, age_s=0.0, now_s=2.0)
    load.look(2, 1, age_s=0.0, now_s=load.due_s)
    load.rdy = load.claim(100, now_s=2.002)
    assert (load.rdy, load.due_s) == (2, math.inf)
    load.look(2, 2, age_s=0.0, now_s=2.1)
    load.rdy = load.claim(100, now_s=2.1)
    load.look(3, 2, age_s=0.0, now_s=3.0)
    assert (load.rdy, load.claim(100, now_s=3.0)) == (1, 2)


def test_answers_that_come_late_show_a_slow_handler_too() -> None:
    load = LoadEstimate(rdy=1)
    load.look(1, 1, age_s=0.0, now_s=1.0)
    load.look(2, 1, age_s=0.0, now_s=2.0)
    load.look(2, 2, age_s=0.0, now_s=2.003)
    load.look(3, 2, age_s=0.0, now_s=3.0)
    assert load.claim(100, now_s=3.0) == 2


def test_a_slow_handler_is_fast_again_when_it_answers_everything_in_time() -> None:
    load = LoadEstimate(rdy=1)
    load.look(1, 0, age_s=0.0, now_s=1.0)
    load.look(1, 1, age_s=0.0, now_s=1.0019)
    load.look(2, 1, age_s=0.0, now_s=2.0)
    assert load.claim(100, now_s=2.0) == 1


@pytest.mark.parametrize(
    ("age_s", "waits_s", "least", "most"),
    [
        pytest.param(-5.0, 0.0025, 2, 3, id="a clock that is behind says nothing"),
        pytest.param(0.01, 0.0025, 2, 3, id="after 10 ms, what comes within 2.5 ms is claimed"),
        pytest.param(0.04, 0.01, 9, 10, id="after 40 ms, what comes within 10 ms"),
        pytest.param(0.1, 0.025, 24, 25, id="after 100 ms, what comes within 25 ms"),
        pytest.param(0.2, 0.05, 49, 50, id="after 200 ms, what comes within 50 ms"),
        pytest.param(3600.0, 0.05, 49, 50, id="and no more after an hour"),
    ],
)
def test_messages_that_have_waited_long_may_wait_a_quarter_of_that_for_others(
    age_s: float, waits_s: float, least: int, most: int
) -> None:
    """At 1,000 a second."""
    load = LoadEstimate()
    for turn in range(1, 501):
        load.look(turn, turn, age_s=age_s, now_s=turn * 0.001)
    assert least <= load.claim(200, now_s=0.5) - 1 <= most
    assert load.quiet_s - 0.5 == pytest.approx(max(0.007, 2 * waits_s))


def test_one_late_message_after_a_long_turn_of_the_loop_makes_room_for_many() -> None:
    """So that many handlers with a backlog in one process soon get whole chunks."""
    load = LoadEstimate()
    load.look(1, 1, age_s=0.2, now_s=1.0)
    assert load.claim(200, now_s=1.0) > 10
    load.look(11, 11, age_s=0.2, now_s=1.1)
    assert load.claim(200, now_s=1.1) > 100


def test_what_comes_again_fresh_is_no_backlog_any_more() -> None:
    load = LoadEstimate()
    load.look(100, 100, age_s=60.0, now_s=1.0)
    assert load.quiet_s == 1.1
    load.look(101, 101, age_s=0.001, now_s=1.01)
    assert load.quiet_s == 1.017


def test_the_age_of_a_message_that_was_looked_at_before_counts_no_more() -> None:
    load = LoadEstimate()
    load.look(100, 0, age_s=0.001, now_s=1.0)
    load.look(100, 50, age_s=60.0, now_s=1.001)
    assert load.quiet_s == 1.007


@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 300), st.floats(-1e9, 1e9), st.floats(0.0, 1.0)),
        max_size=40,
    )
)
def test_a_claim_leaves_room_or_is_looked_at_again_soon_whatever_happens(
    steps: list[tuple[int, int, float, float]],
) -> None:
    load, received, answered, now_s = LoadEstimate(), 0, 0, 0.0
    for arrived, done, age_s, passed_s in steps:
        received, now_s = received + arrived, now_s + passed_s
        answered = min(received, answered + done)
        load.look(received, answered, age_s=age_s, now_s=now_s)
        load.rdy = load.claim(200, now_s=now_s)
        assert 1 <= load.rdy <= 200
        assert load.rdy >= min(200, load.busy + 1) or load.due_s <= now_s + 0.002
        assert load.due_s > now_s


@pytest.mark.parametrize(
    ("claims", "held", "budget", "expected"),
    [
        pytest.param((3, 1, 7), (2, 0, 6), 100, (3, 1, 7), id="where there is enough each gets its claim"),
        pytest.param((500, 500), (0, 0), 100, (50, 50), id="two that want all get half"),
        pytest.param((500, 1, 1), (0, 0, 0), 100, (98, 1, 1), id="idle ones give their share up"),
        pytest.param((500, 500, 3), (0, 0, 0), 100, (49, 48, 3), id="the remainder is used"),
        pytest.param((400, 500), (0, 0), 99, (50, 49), id="whichever claim is larger"),
        pytest.param((2, 2, 5), (0, 0, 0), 8, (2, 2, 4), id="also where one alone wants it"),
        pytest.param((2, 3, 3), (0, 0, 0), 7, (2, 3, 2), id="by nobody beyond its claim"),
        pytest.param((90, 20), (89, 0), 100, (80, 11), id="what one still holds is not given away"),
        pytest.param((60, 60, 5), (70, 0, 0), 100, (48, 25, 5), id="the others share what is free evenly"),
        pytest.param((90, 90), (60, 50), 100, (50, 40), id="also who holds just its share"),
        pytest.param((90, 20), (99, 0), 100, (80, 1), id="but each gets 1"),
        pytest.param((9, 9, 9), (8, 8, 8), 3, (1, 1, 1), id="as many as there are get 1 each"),
        pytest.param((), (), 5, (), id="nothing for nobody"),
    ],
)
def test_fair_shares(
    claims: tuple[int, ...], held: tuple[int, ...], budget: int, expected: tuple[int, ...]
) -> None:
    assert fair_shares(claims, held, budget) == expected


@pytest.mark.parametrize("held", [(0,), (0, 0, 0)], ids=["fewer", "more"])
def test_what_is_held_is_told_for_every_claim(held: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="argument 2"):
        fair_shares((9, 9), held, 10)


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300)), min_size=1, max_size=20), st.data())
def test_fair_shares_lose_nothing_and_exceed_nothing(
    lines: list[tuple[int, int]], data: st.DataObject
) -> None:
    budget = data.draw(st.integers(len(lines), 400))
    claims, held = [claim for claim, _ in lines], [has for _, has in lines]
    shares = fair_shares(claims, held, budget)
    assert all(1 <= share <= claim for share, claim in zip(shares, claims, strict=True))
    assert sum(shares) <= budget
    if all(has <= share for has, share in zip(held, shares, strict=True)):
        assert sum(shares) == min(budget, sum(claims))


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20), st.data())
def test_those_cut_short_differ_by_one_at_most(claims: list[int], data: st.DataObject) -> None:
    budget = data.draw(st.integers(len(claims), 400))
    shares = fair_shares(claims, [0] * len(claims), budget)
    short = [share for share, claim in zip(shares, claims, strict=True) if share < claim]
    if short:
        assert max(shares) <= max(short) + 1
        assert max(short) - min(short) <= 1
