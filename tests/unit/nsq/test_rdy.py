"""RDY of a handler's connections: it follows the load, and pauses and trials override that."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from nsqkit.nsq.identify import IdentifyReply
from nsqkit.nsq.rdy import RdyController
from nsqkit.nsq.rdy_timer import RdyTimer
from nsqkit.testing.clock import VirtualClock
from tests.unit.nsq.timers import count_timers
from tests.unit.runtime.bench import passed
from tests.waiting import turns, until


class FakeConnection:
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


def sharing(
    max_in_flight: int,
    *connections: FakeConnection,
    is_fixed: bool = False,
    now_s: Callable[[], float] = lambda: 1000.0,
) -> RdyController:
    """Share, by default at a moment that lasts: only the loop's timers pass."""
    controller = RdyController("orders", max_in_flight, is_fixed=is_fixed, timer=RdyTimer(now_s))
    for connection in connections:
        add(controller, connection)
    return controller


def add(controller: RdyController, connection: Any) -> None:
    controller.add(connection)


def remove(controller: RdyController, connection: Any) -> None:
    controller.remove(connection)


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """A timer that goes off after a test does no harm."""
    yield
    await turns()


class TestLoad:
    async def test_an_idle_connection_has_1(self) -> None:
        connection = FakeConnection()
        sharing(100, connection)
        assert connection.told == [1]

    async def test_messages_that_are_held_leave_room_for_one_more(self) -> None:
        connection = FakeConnection()
        sharing(100, connection)
        for _ in range(3):
            connection.arrive(1)
        assert connection.rdy > 3
        connection.answer(3)
        await connection.wait_told(1)

    async def test_messages_that_are_answered_at_once_cost_no_command(self) -> None:
        connection = FakeConnection()
        sharing(100, connection)
        for _ in range(2):
            connection.received += 1
            connection.answer(1)
        assert connection.told == [1]

    async def test_a_flood_gets_all(self) -> None:
        connection = FakeConnection()
        sharing(100, connection)
        connection.arrive(500)
        assert connection.told == [1, 100]

    async def test_nsqds_own_limit_holds(self) -> None:
        connection = FakeConnection(max_rdy_count=7)
        sharing(100, connection)
        connection.arrive(500)
        assert connection.told == [1, 7]

    async def test_what_nsqd_may_hold_is_sent_for_when_it_falls_silent(self) -> None:
        """Nothing arrives and nothing is answered: only a timer can tell."""
        connection = FakeConnection()
        sharing(100, connection)
        connection.received += 100
        connection.answer(98)
        assert connection.rdy > 3
        await connection.wait_told(3)

    async def test_no_timer_runs_where_no_more_than_one_message_can_come(self) -> None:
        connection = FakeConnection()
        controller = sharing(100, connection)
        connection.arrive(1)
        assert connection.rdy == 2
        assert controller._timer._handle is None

    async def test_with_one_in_flight_it_is_always_1(self) -> None:
        connection = FakeConnection()
        sharing(1, connection)
        for _ in range(20):
            connection.arrive(1)
            connection.answer(1)
        assert connection.told == [1]

    async def test_more_in_flight_than_allowed_changes_nothing(self) -> None:
        """A message timeout frees RDY at nsqd, while the message is held here."""
        connection = FakeConnection()
        sharing(5, connection)
        connection.arrive(8)
        assert connection.told == [1, 5]

    async def test_fixed_is_fixed(self) -> None:
        connection = FakeConnection()
        sharing(100, connection, is_fixed=True)
        connection.arrive(10)
        connection.answer(10)
        assert connection.told == [100]

    async def test_each_may_bring_as_much_as_a_batch_takes(self) -> None:
        connections = [FakeConnection(), FakeConnection(), FakeConnection()]
        controller = RdyController("orders", 100, is_fixed=True, min_rdy=60, timer=RdyTimer(lambda: 1000.0))
        for connection in connections:
            add(controller, connection)
        assert [connection.rdy for connection in connections] == [60, 60, 60]
        remove(controller, connections[0])
        controller.pause()
        assert [connection.rdy for connection in connections[1:]] == [0, 0]
        controller.resume()
        remove(controller, connections[1])
        assert connections[2].rdy == 100


class TestSeveral:
    async def test_idle_ones_give_their_share_up(self) -> None:
        connections = [FakeConnection() for _ in range(10)]
        sharing(100, *connections)
        connections[3].arrive(500)
        assert [connection.rdy for connection in connections] == [1, 1, 1, 91, 1, 1, 1, 1, 1, 1]

    async def test_what_one_holds_is_not_given_to_another_before_it_has_answered(self) -> None:
        connections = [FakeConnection(), FakeConnection()]
        sharing(100, *connections)
        connections[0].arrive(90)
        assert [connection.rdy for connection in connections] == [99, 1]
        connections[1].received += 900
        connections[1].answer(900)
        assert [connection.rdy for connection in connections] == [50, 10]
        connections[0].answer(50)
        assert [connection.rdy for connection in connections] == [50, 50]

    async def test_a_lost_connections_share_goes_to_the_others(self) -> None:
        connections = [FakeConnection(), FakeConnection()]
        controller = sharing(100, *connections)
        for connection in connections:
            connection.received += 900
            connection.answer(900)
        assert [connection.rdy for connection in connections] == [50, 50]
        remove(controller, connections[0])
        assert connections[1].rdy == 100

    async def test_another_topic_has_1_on_top_whatever_comes(self) -> None:
        connection, retry = FakeConnection(), FakeConnection("orders.stock.retry")
        sharing(100, connection, retry)
        retry.arrive(1)
        connection.arrive(500)
        assert retry.told == [1]
        assert connection.rdy == 100

    async def test_too_little_for_all_is_not_for_the_busy_ones_alone(self) -> None:
        connections = [FakeConnection(), FakeConnection(), FakeConnection()]
        sharing(2, *connections)
        connections[0].arrive(1)
        assert [connection.rdy for connection in connections] == [1, 1, 0]


class TestModes:
    async def test_a_pause_stops_all_and_resume_goes_by_the_load(self) -> None:
        connection, retry = FakeConnection(), FakeConnection("orders.stock.retry")
        controller = sharing(100, connection, retry)
        connection.arrive(10)
        controller.pause()
        connection.arrive(3)
        connection.answer(4)
        late = FakeConnection()
        add(controller, late)
        assert [connection.rdy, retry.rdy, late.rdy] == [0, 0, 0]
        controller.resume()
        assert connection.rdy > 9
        assert [retry.rdy, late.rdy] == [1, 1]

    async def test_after_the_end_nothing_is_told(self, hours: VirtualClock) -> None:
        connection = FakeConnection()
        controller = sharing(100, connection)
        connection.arrive(50)
        told = connection.told.copy()
        controller.stop()
        connection.answer(50)
        controller.pause()
        controller.resume()
        await passed(hours, 60.0)
        assert connection.told == told


class TestTrial:
    @pytest.mark.parametrize("is_fixed", [False, True])
    async def test_one_more_message_in_total_each_connection_in_turn(
        self, hours: VirtualClock, *, is_fixed: bool
    ) -> None:
        connections = [FakeConnection(), FakeConnection(), FakeConnection("orders.stock.retry")]
        controller = sharing(100, *connections, is_fixed=is_fixed, now_s=hours.now_s)
        connections[0].arrive(3)
        controller.pause()
        controller.trial()
        late = FakeConnection()
        add(controller, late)
        connections.append(late)
        seen = set()
        for _ in range(40):
            seen.add(tuple(connection.rdy for connection in connections))
            await passed(hours, 0.01)
        assert seen == {(4, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)}

    async def test_it_is_used_when_one_arrives_and_each_call_allows_another(
        self, hours: VirtualClock
    ) -> None:
        connections = [FakeConnection(), FakeConnection()]
        controller = sharing(100, *connections, now_s=hours.now_s)
        for _ in range(2):
            controller.trial()
            taker = next(connection for connection in connections if connection.rdy)
            taker.arrive(1)
            await passed(hours, 1.0)
            assert [connection.rdy for connection in connections] == [0, 0]
            taker.answer(1)
            await passed(hours, 1.0)
            assert [connection.rdy for connection in connections] == [0, 0]

    async def test_calls_do_not_add_up(self) -> None:
        connection = FakeConnection()
        controller = sharing(100, connection)
        connection.arrive(3)
        for _ in range(3):
            controller.trial()
        assert connection.rdy == 4
        connection.arrive(1)
        assert connection.rdy == 0

    async def test_an_answer_leaves_room_for_one_only(self) -> None:
        connection = FakeConnection()
        controller = sharing(100, connection)
        connection.arrive(3)
        controller.trial()
        connection.answer(2)
        assert connection.rdy == 2

    async def test_a_message_that_was_on_its_way_uses_it_wherever_it_arrives(self) -> None:
        connections = [FakeConnection(), FakeConnection(), FakeConnection("orders.stock.retry")]
        controller = sharing(100, *connections)
        controller.pause()
        controller.trial()
        other = next(connection for connection in connections if not connection.rdy)
        other.arrive(1)
        assert [connection.rdy for connection in connections] == [0, 0, 0]

    async def test_it_is_used_also_if_something_else_happens_when_it_arrives(self) -> None:
        """A handler is called before the controller learns of its message."""
        connections = [FakeConnection(), FakeConnection()]
        controller = sharing(100, *connections)
        controller.trial()
        connections[1].received += 1
        controller.set_max_in_flight(50)
        assert [connection.rdy for connection in connections] == [0, 0]

    async def test_the_message_that_arrives_may_ask_for_the_next_one(self) -> None:
        connection = FakeConnection()
        controller = sharing(100, connection)
        controller.trial()
        connection.received += 1
        controller.trial()
        connection.on_change()
        assert connection.rdy == 2

    async def test_no_more_than_one_of_each_connection_can_be_on_its_way(self, hours: VirtualClock) -> None:
        """Each nsqd sends one while it has RDY 1, and the worker reads nothing for a second."""
        connections = [FakeConnection() for _ in range(4)]
        controller = sharing(10, *connections, now_s=hours.now_s)
        for connection in connections:
            connection.arrive(2)
        controller.pause()
        controller.trial()
        on_their_way = [0, 0, 0, 0]
        for _ in range(100):
            await passed(hours, 0.01)
            for at, connection in enumerate(connections):
                in_flight = connection.received - connection.answered + on_their_way[at]
                on_their_way[at] += max(0, connection.rdy - in_flight)
        assert on_their_way == [1, 1, 1, 1]
        for connection in connections:
            connection.arrive(1)
        await passed(hours, 1.0)
        assert [connection.rdy for connection in connections] == [0, 0, 0, 0]

    async def test_a_lost_connection_leaves_it_to_the_others(self) -> None:
        connections = [FakeConnection(), FakeConnection()]
        controller = sharing(100, *connections)
        controller.trial()
        taker = next(connection for connection in connections if connection.rdy)
        connections.remove(taker)
        remove(controller, taker)
        assert connections[0].rdy == 1

    async def test_a_pause_revokes_it(self, hours: VirtualClock) -> None:
        connection = FakeConnection()
        controller = sharing(100, connection, now_s=hours.now_s)
        controller.trial()
        controller.pause()
        await passed(hours, 1.0)
        assert connection.rdy == 0

    async def test_resume_ends_it(self) -> None:
        connections = [FakeConnection(), FakeConnection()]
        controller = sharing(100, *connections)
        controller.trial()
        controller.resume()
        assert [connection.rdy for connection in connections] == [1, 1]

    async def test_the_load_does_not_end_it(self, hours: VirtualClock) -> None:
        connection = FakeConnection()
        controller = sharing(100, connection)
        connection.received += 100
        connection.answer(90)
        controller.trial()
        assert connection.rdy == 11
        await passed(hours, 60.0)
        assert connection.rdy == 11


class TestLessThanConnections:
    """The rules themselves are tested with nsqkit.policy.lending."""

    @pytest.mark.parametrize("is_fixed", [False, True])
    async def test_idle_connections_take_turns(self, hours: VirtualClock, *, is_fixed: bool) -> None:
        connections = [FakeConnection() for _ in range(3)]
        sharing(1, *connections, is_fixed=is_fixed, now_s=hours.now_s)
        for _ in range(100):
            await passed(hours, 0.01)
            assert sum(connection.rdy for connection in connections) == 1
        told = [len(connection.told) for connection in connections]
        assert max(told) <= min(told) + 2
        assert min(told) >= 12, "a round takes 0.15 s at most, and two commands for each"

    async def test_a_message_keeps_its_part_until_it_is_answered(self, hours: VirtualClock) -> None:
        connections = [FakeConnection() for _ in range(3)]
        sharing(1, *connections, now_s=hours.now_s)
        await passed(hours, 1.0)
        taker = next(connection for connection in connections if connection.rdy)
        taker.arrive(1)
        await passed(hours, 60.0)
        assert [connection.rdy for connection in connections] == [0, 0, 0]
        taker.answer(1)
        assert sum(connection.rdy for connection in connections) == 1
        assert taker.rdy == 0

    async def test_one_timer_is_enough(self, hours: VirtualClock) -> None:
        connections = [FakeConnection() for _ in range(3)]
        controller = sharing(2, *connections, now_s=hours.now_s)
        await passed(hours, 1.0)
        for _ in range(20):
            for connection in connections:
                if connection.rdy:
                    connection.received += 1
                    connection.answer(1)
            await passed(hours, 0.003)
        timers = [handle for handle in hours._loop._scheduled if not handle.cancelled()]
        timer = controller._timer
        assert [handle for handle in timers if handle._callback == timer._fire] == [timer._handle]

    async def test_a_backlog_borrows_what_idle_connections_lend(self, hours: VirtualClock) -> None:
        connections = [FakeConnection() for _ in range(6)]
        sharing(6, *connections, now_s=hours.now_s)
        await passed(hours, 1.0)
        for _ in range(20):
            for _ in range(connections[0].rdy + connections[0].answered - connections[0].received):
                connections[0].arrive(1)
        assert connections[0].rdy == 6
        assert sum(connection.rdy for connection in connections) == 6


class TestManyHandlers:
    async def test_they_share_one_timer(self, hours: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
        timer = RdyTimer(hours.now_s)
        connections = [FakeConnection() for _ in range(100)]
        for connection in connections:
            add(RdyController("orders", 100, is_fixed=False, timer=timer), connection)
        timers = count_timers(monkeypatch)
        for _ in range(10):
            await passed(hours, 0.001)
            for connection in connections:
                connection.received += 10
                connection.answer(10)
        assert {connection.rdy > 10 for connection in connections} == {True}
        await passed(hours, 1.0)
        assert {connection.rdy for connection in connections} == {1}
        assert len(timers) <= 5
        assert timer._handle is None

    async def test_idle_ones_set_no_timer(self, hours: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
        timer = RdyTimer(hours.now_s)
        timers = count_timers(monkeypatch)
        for _ in range(100):
            add(RdyController("orders", 100, is_fixed=False, timer=timer), FakeConnection())
        await passed(hours, 60.0)
        assert timers == []

    async def test_a_fast_handler_that_becomes_slow_is_noticed(self, hours: VirtualClock) -> None:
        connection = FakeConnection()
        sharing(100, connection, now_s=hours.now_s)
        connection.received += 1
        connection.answer(1)
        connection.arrive(1)
        assert connection.told == [1]
        await passed(hours, 0.01)
        assert connection.told == [1, 2]

    async def test_after_stop_the_timer_is_for_the_others_only(self, hours: VirtualClock) -> None:
        timer = RdyTimer(hours.now_s)
        connections = [FakeConnection(), FakeConnection()]
        stopped, other = (RdyController("orders", 100, is_fixed=False, timer=timer) for _ in connections)
        for controller, connection in zip((stopped, other), connections, strict=True):
            add(controller, connection)
            connection.received += 500
            connection.answer(500)
        stopped.stop()
        rdy = connections[0].rdy
        await passed(hours, 1.0)
        assert [connection.rdy for connection in connections] == [rdy, 1]
        assert rdy > 1


class TestMaxInFlight:
    async def test_it_can_be_lowered_and_raised(self) -> None:
        connection, retry = FakeConnection(), FakeConnection("orders.stock.retry")
        controller = sharing(100, connection, retry)
        connection.arrive(500)
        seen = []
        for count in (60, 0, 80):
            controller.set_max_in_flight(count)
            connection.answer(1)
            seen.append((connection.rdy, retry.rdy))
        assert seen == [(60, 1), (0, 0), (80, 1)]

    async def test_a_pause_goes_on(self) -> None:
        connection = FakeConnection()
        controller = sharing(100, connection, is_fixed=True)
        controller.pause()
        controller.set_max_in_flight(50)
        assert connection.rdy == 0
        controller.resume()
        assert connection.rdy == 50

    async def test_with_0_not_even_a_trial_is_taken_until_it_is_raised(self) -> None:
        connection = FakeConnection()
        controller = sharing(100, connection)
        controller.set_max_in_flight(0)
        controller.trial()
        assert connection.rdy == 0
        controller.set_max_in_flight(1)
        assert connection.rdy == 1

    async def test_less_than_there_are_connections_makes_them_take_turns(self, hours: VirtualClock) -> None:
        connections = [FakeConnection() for _ in range(3)]
        controller = sharing(3, *connections, now_s=hours.now_s)
        controller.set_max_in_flight(1)
        seen = set()
        for _ in range(30):
            seen.add(tuple(connection.rdy for connection in connections))
            await passed(hours, 0.01)
        assert seen == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
        controller.set_max_in_flight(3)
        assert [connection.rdy for connection in connections] == [1, 1, 1]

    async def test_a_batch_gets_no_more_than_that(self) -> None:
        connections = [FakeConnection(), FakeConnection()]
        controller = RdyController("orders", 100, is_fixed=True, min_rdy=60, timer=RdyTimer(lambda: 1000.0))
        for connection in connections:
            add(controller, connection)
        seen = []
        for count in (40, 1, 0, 100):
            controller.set_max_in_flight(count)
            seen.append([connection.rdy for connection in connections])
        assert seen == [[40, 40], [1, 1], [0, 0], [60, 60]]

    async def test_less_than_none_is_refused(self) -> None:
        with pytest.raises(ValueError, match="max_in_flight=-1 is negative"):
            sharing(1).set_max_in_flight(-1)

    async def test_after_the_end_nothing_is_told(self) -> None:
        connection = FakeConnection()
        controller = sharing(100, connection)
        controller.stop()
        controller.set_max_in_flight(0)
        assert connection.rdy == 1
