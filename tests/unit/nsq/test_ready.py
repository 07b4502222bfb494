"""RDY of a handler's connections: it follows the load, and pauses and trials override that."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from nsqkit.nsq.identify import IdentifyReply
from nsqkit.nsq.ready import Ready
from nsqkit.testing.clock import VirtualClock
from tests.unit.runtime.bench import passed
from tests.waiting import turns, until


class Line:
    """A connection as far as RDY goes; notes what it is told."""

    def __init__(self, topic: str = "orders", *, max_rdy_count: int = 2500) -> None:
        self.topic = topic
        self.limits = IdentifyReply(max_rdy_count=max_rdy_count)
        self.received = self.answered = self.rdy = 0
        self.age_s = 0.0
        self.told: list[int] = []
        self.is_closing = False

    def ready(self, count: int) -> None:
        if count != self.rdy and not self.is_closing:
            self.rdy = count
            self.told.append(count)

    def on_change(self) -> None:
        raise NotImplementedError

    def arrive(self, messages: int) -> None:
        """Deliver one chunk."""
        self.received += messages
        self.on_change()

    def answer(self, messages: int) -> None:
        """Answer within one turn."""
        self.answered += messages
        self.on_change()

    async def wait_told(self, count: int) -> None:
        await until(lambda: self.rdy == count)


def sharing(max_in_flight: int, *lines: Line, is_fixed: bool = False) -> Ready:
    """Share at a moment that lasts: only the loop's timers pass."""
    shares = Ready("orders", max_in_flight, is_fixed=is_fixed, now_s=lambda: 1000.0)
    for line in lines:
        add(shares, line)
    return shares


def add(shares: Ready, line: Any) -> None:
    shares.add(line)


def remove(shares: Ready, line: Any) -> None:
    shares.remove(line)


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """A timer that goes off after a test does no harm."""
    yield
    await turns()


class TestLoad:
    async def test_an_idle_connection_has_1(self) -> None:
        line = Line()
        sharing(100, line)
        assert line.told == [1]

    async def test_messages_that_are_held_leave_room_for_one_more(self) -> None:
        line = Line()
        sharing(100, line)
        for _ in range(3):
            line.arrive(1)
        assert line.rdy > 3
        line.answer(3)
        await line.wait_told(1)

    async def test_messages_that_are_answered_at_once_cost_no_command(self) -> None:
        line = Line()
        sharing(100, line)
        for _ in range(2):
            line.received += 1
            line.answer(1)
        assert line.told == [1]

    async def test_a_flood_gets_all(self) -> None:
        line = Line()
        sharing(100, line)
        line.arrive(500)
        assert line.told == [1, 100]

    async def test_nsqds_own_limit_holds(self) -> None:
        line = Line(max_rdy_count=7)
        sharing(100, line)
        line.arrive(500)
        assert line.told == [1, 7]

    async def test_what_nsqd_may_hold_is_sent_for_when_it_falls_silent(self) -> None:
        """Nothing arrives and nothing is answered: only a timer can tell."""
        line = Line()
        sharing(100, line)
        line.received += 100
        line.answer(98)
        assert line.rdy > 3
        await line.wait_told(3)

    async def test_no_timer_runs_where_no_more_than_one_message_can_come(self) -> None:
        line = Line()
        shares = sharing(100, line)
        line.arrive(1)
        assert line.rdy == 2
        assert shares._timer is None

    async def test_with_one_in_flight_it_is_always_1(self) -> None:
        line = Line()
        sharing(1, line)
        for _ in range(20):
            line.arrive(1)
            line.answer(1)
        assert line.told == [1]

    async def test_more_in_flight_than_allowed_changes_nothing(self) -> None:
        """A message timeout frees RDY at nsqd, while the message is held here."""
        line = Line()
        sharing(5, line)
        line.arrive(8)
        assert line.told == [1, 5]

    async def test_fixed_is_fixed(self) -> None:
        line = Line()
        sharing(100, line, is_fixed=True)
        line.arrive(10)
        line.answer(10)
        assert line.told == [100]

    async def test_each_may_bring_as_much_as_a_batch_takes(self) -> None:
        lines = [Line(), Line(), Line()]
        shares = Ready("orders", 100, is_fixed=True, min_rdy=60, now_s=lambda: 1000.0)
        for line in lines:
            add(shares, line)
        assert [line.rdy for line in lines] == [60, 60, 60]
        remove(shares, lines[0])
        shares.pause()
        assert [line.rdy for line in lines[1:]] == [0, 0]
        shares.resume()
        remove(shares, lines[1])
        assert lines[2].rdy == 100


class TestSeveral:
    async def test_idle_ones_give_their_share_up(self) -> None:
        lines = [Line() for _ in range(10)]
        sharing(100, *lines)
        lines[3].arrive(500)
        assert [line.rdy for line in lines] == [1, 1, 1, 91, 1, 1, 1, 1, 1, 1]

    async def test_what_one_holds_is_not_given_to_another_before_it_has_answered(self) -> None:
        lines = [Line(), Line()]
        sharing(100, *lines)
        lines[0].arrive(80)
        assert [line.rdy for line in lines] == [99, 1]
        lines[1].received += 200
        lines[1].answer(200)
        assert [line.rdy for line in lines] == [50, 20]
        lines[0].answer(40)
        assert [line.rdy for line in lines] == [50, 50]

    async def test_a_lost_connections_share_goes_to_the_others(self) -> None:
        lines = [Line(), Line()]
        shares = sharing(100, *lines)
        for line in lines:
            line.received += 500
            line.answer(500)
        assert [line.rdy for line in lines] == [50, 50]
        remove(shares, lines[0])
        assert lines[1].rdy == 100

    async def test_another_topic_has_1_on_top_whatever_comes(self) -> None:
        line, retry = Line(), Line("orders.stock.retry")
        sharing(100, line, retry)
        retry.arrive(1)
        line.arrive(500)
        assert retry.told == [1]
        assert line.rdy == 100

    async def test_too_little_for_all_is_not_for_the_busy_ones_alone(self) -> None:
        lines = [Line(), Line(), Line()]
        sharing(2, *lines)
        lines[0].arrive(1)
        assert [line.rdy for line in lines] == [1, 1, 0]


class TestModes:
    async def test_a_pause_stops_all_and_resume_goes_by_the_load(self) -> None:
        line, retry = Line(), Line("orders.stock.retry")
        shares = sharing(100, line, retry)
        line.arrive(10)
        shares.pause()
        line.arrive(3)
        line.answer(4)
        late = Line()
        add(shares, late)
        assert [line.rdy, retry.rdy, late.rdy] == [0, 0, 0]
        shares.resume()
        assert line.rdy > 9
        assert [retry.rdy, late.rdy] == [1, 1]

    @pytest.mark.parametrize("is_fixed", [False, True])
    async def test_a_trial_lets_one_more_come_on_each_connection(self, *, is_fixed: bool) -> None:
        line, retry = Line(), Line("orders.stock.retry")
        shares = sharing(100, line, retry, is_fixed=is_fixed)
        line.arrive(3)
        shares.pause()
        shares.trial()
        assert [line.rdy, retry.rdy] == [4, 1]
        late = Line()
        add(shares, late)
        assert late.rdy == 1

    async def test_what_a_trial_lets_come_it_lets_come_once(self) -> None:
        """Else each answer would bring the next message."""
        line = Line()
        shares = sharing(100, line)
        line.arrive(3)
        shares.trial()
        line.answer(2)
        assert line.rdy == 2
        line.arrive(1)
        assert line.rdy == 2
        line.answer(2)
        assert line.rdy == 0
        shares.trial()
        assert line.rdy == 1

    async def test_the_load_does_not_end_a_trial(self, hours: VirtualClock) -> None:
        line = Line()
        shares = sharing(100, line)
        line.received += 100
        line.answer(90)
        shares.trial()
        assert line.rdy == 11
        await passed(hours, 60.0)
        assert line.rdy == 11

    async def test_after_the_end_nothing_is_told(self, hours: VirtualClock) -> None:
        line = Line()
        shares = sharing(100, line)
        line.arrive(50)
        told = line.told.copy()
        shares.stop()
        line.answer(50)
        shares.pause()
        shares.resume()
        await passed(hours, 60.0)
        assert line.told == told
