"""Flow: max_in_flight is shared among connections without loss, evenly, and in turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.flow import rdy_shares

BUDGETS = st.integers(0, 2500)
CONNECTIONS = st.integers(1, 64)
TURNS = st.integers(-1000, 1000)


@pytest.mark.parametrize(
    ("budget", "connections", "turn", "expected"),
    [
        pytest.param(100, 0, 0, (), id="without a connection there is nothing to share"),
        pytest.param(100, 1, 0, (100,), id="one connection gets all"),
        pytest.param(100, 4, 0, (25, 25, 25, 25), id="an even budget is shared evenly"),
        pytest.param(10, 4, 0, (3, 3, 2, 2), id="the remainder is used"),
        pytest.param(10, 4, 1, (2, 3, 3, 2), id="the next turn moves the remainder on by one"),
        pytest.param(10, 4, 3, (3, 2, 2, 3), id="the remainder wraps around"),
        pytest.param(10, 4, 4, (3, 3, 2, 2), id="a whole round is where it began"),
        pytest.param(1, 3, 0, (1, 0, 0), id="a small budget serves the first"),
        pytest.param(1, 3, 2, (0, 0, 1), id="and in its turn the last"),
        pytest.param(0, 3, 1, (0, 0, 0), id="a paused handler gives RDY 0 to all"),
        pytest.param(0, 0, 0, (), id="nothing for nobody"),
    ],
)
def test_shares(budget: int, connections: int, turn: int, expected: tuple[int, ...]) -> None:
    assert rdy_shares(budget, connections, turn=turn) == expected


@pytest.mark.parametrize(
    ("budget", "connections", "trickles", "turn", "expected"),
    [
        pytest.param(100, 2, 1, 0, (100, 1), id="a trickle gets one on top"),
        pytest.param(100, 5, 2, 1, (33, 34, 33, 1, 1), id="the others share evenly, in turn"),
        pytest.param(1, 2, 1, 0, (1, 1), id="the smallest budget serves both at once"),
        pytest.param(1, 3, 1, 1, (0, 1, 1), id="the others take turns, the trickle does not"),
        pytest.param(10, 2, 2, 0, (1, 1), id="trickles alone get one each"),
        pytest.param(0, 2, 1, 0, (0, 0), id="a paused handler gives none to trickles either"),
    ],
)
def test_trickles(budget: int, connections: int, trickles: int, turn: int, expected: tuple[int, ...]) -> None:
    assert rdy_shares(budget, connections, trickles=trickles, turn=turn) == expected


@pytest.mark.parametrize("trickles", [-1, 3])
def test_trickles_are_some_of_the_connections(trickles: int) -> None:
    with pytest.raises(ValueError, match="trickles"):
        rdy_shares(10, 2, trickles=trickles)


def test_turns_begin_with_the_first_connection() -> None:
    assert rdy_shares(1, 3) == (1, 0, 0)


@given(BUDGETS, CONNECTIONS, TURNS)
def test_shares_are_the_whole_budget_and_differ_by_one_at_most(
    budget: int, connections: int, turn: int
) -> None:
    shares = rdy_shares(budget, connections, turn=turn)
    assert len(shares) == connections
    assert sum(shares) == budget
    assert max(shares) - min(shares) <= 1
    assert all(type(share) is int for share in shares)


@given(st.integers(1, 64), st.integers(1, 64), TURNS)
def test_a_round_of_turns_serves_every_connection_equally(budget: int, connections: int, turn: int) -> None:
    rounds = [rdy_shares(budget, connections, turn=turn + step) for step in range(connections)]
    served = [sum(shares) for shares in zip(*rounds, strict=True)]
    assert served == [budget] * connections


@pytest.mark.parametrize(("budget", "connections"), [(-1, 1), (1, -1), (-1, 0)])
def test_negative_numbers_are_refused_by_name(budget: int, connections: int) -> None:
    with pytest.raises(ValueError, match=rf"^budget={budget} connections={connections} trickles=0$"):
        rdy_shares(budget, connections)


@given(BUDGETS, CONNECTIONS, st.data(), TURNS)
def test_trickles_get_one_each_and_cost_the_others_nothing(
    budget: int, connections: int, data: st.DataObject, turn: int
) -> None:
    trickles = data.draw(st.integers(0, connections - 1))
    shares = rdy_shares(budget, connections, trickles=trickles, turn=turn)
    others, last = shares[: connections - trickles], shares[connections - trickles :]
    assert len(shares) == connections
    assert sum(others) == budget
    assert max(others) - min(others) <= 1
    assert all(share == min(budget, 1) for share in last)


@given(st.integers(1, 64), st.integers(1, 16), st.data())
def test_a_round_of_turns_reaches_trickles_too(budget: int, connections: int, data: st.DataObject) -> None:
    trickles = data.draw(st.integers(0, connections))
    rounds = [rdy_shares(budget, connections, trickles=trickles, turn=turn) for turn in range(connections)]
    assert all(max(shares) >= 1 for shares in zip(*rounds, strict=True))
