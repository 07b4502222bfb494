"""When bytes arrived, told by a clock that the test moves."""

import pytest

from nsqkit.nsq.arrival import Arrival
from nsqkit.nsq.turns import TURN_S, Turns


class Clock:
    """The loop: it turns on time while it runs, and not at all while it is blocked."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.turns = Turns(lambda: self.now_s)
        self.arrival = Arrival(self.turns)

    def run(self, turns: int) -> None:
        for _ in range(turns):
            self.now_s += TURN_S
            self.turns.turned()


def test_on_a_loop_that_turns_what_is_read_has_just_arrived() -> None:
    clock = Clock()
    clock.run(20)
    clock.now_s += TURN_S
    assert clock.arrival.latest_s(is_last=True) == clock.now_s


@pytest.mark.parametrize("timers_go_first", [False, True], ids=["sockets go first", "timers go first"])
def test_what_is_read_after_a_block_is_dated_before_it(timers_go_first: bool) -> None:  # noqa: FBT001 - a case
    clock = Clock()
    clock.run(20)
    before_s = clock.now_s
    clock.now_s += 30.0
    if timers_go_first:
        clock.turns.turned()
    assert clock.arrival.latest_s(is_last=True) == before_s


def test_what_arrives_once_all_was_read_is_not_dated_before_the_block() -> None:
    """Else a handler that blocks for longer than a lease would lose the messages that follow it, too."""
    clock = Clock()
    clock.run(20)
    clock.now_s += 30.0
    clock.arrival.latest_s(is_last=True)
    drained_s = clock.now_s
    clock.now_s += 0.01
    clock.turns.turned()
    assert clock.arrival.latest_s(is_last=True) == drained_s


def test_what_a_read_has_left_is_dated_before_the_block_as_well() -> None:
    clock = Clock()
    clock.run(20)
    before_s = clock.now_s
    clock.now_s += 30.0
    clock.arrival.latest_s(is_last=False)
    assert clock.arrival.latest_s(is_last=True) == before_s


def test_one_turn_after_a_block_all_is_as_before() -> None:
    clock = Clock()
    clock.now_s += 30.0
    clock.turns.turned()
    clock.run(1)
    assert clock.arrival.latest_s(is_last=True) == clock.now_s


def test_a_reader_that_waited_long_does_not_date_a_message_back() -> None:
    clock = Clock()
    clock.arrival.latest_s(is_last=True)
    clock.run(1000)
    assert clock.arrival.latest_s(is_last=True) == clock.now_s
