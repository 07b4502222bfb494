"""RDY of a handler's connections: it follows the load, and pauses and trials override that."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from nsqkit.nsq.identify import IdentifyReply
from nsqkit.nsq.rdy import RdyController
from nsqkit.testing.clock import VirtualClock
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


def sharing(max_in_flight: int, *connections: FakeConnection, is_fixed: bool = False) -> RdyController:
    """Share at a moment that lasts: only the loop's timers pass."""
    controller = RdyController("orders", max_in_flight, is_fixed=is_fixed, now_s=lambda: 1000.0)
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
        assert controller._timer is None

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
        controller = RdyController("orders", 100, is_fixed=True, min_rdy=60, now_s=lambda: 1000.0)
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
        connections[0].arrive(80)
        assert [connection.rdy for connection in connections] == [99, 1]
        connections[1].received += 200
        connections[1].answer(200)
        assert [connection.rdy for connection in connections] == [50, 20]
        connections[0].answer(40)
        assert [connection.rdy for connection in connections] == [50, 50]

    async def test_a_lost_connections_share_goes_to_the_others(self) -> None:
        connections = [FakeConnection(), FakeConnection()]
        controller = sharing(100, *connections)
        for connection in connections:
            connection.received += 500
            connection.answer(500)
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

    @pytest.mark.parametrize("is_fixed", [False, True])
    async def test_a_trial_lets_one_more_come_on_each_connection(self, *, is_fixed: bool) -> None:
        connection, retry = FakeConnection(), FakeConnection("orders.stock.retry")
        controller = sharing(100, connection, retry, is_fixed=is_fixed)
        connection.arrive(3)
        controller.pause()
        controller.trial()
        assert [connection.rdy, retry.rdy] == [4, 1]
        late = FakeConnection()
        add(controller, late)
        assert late.rdy == 1

    async def test_what_a_trial_lets_come_it_lets_come_once(self) -> None:
        """Else each answer would bring the next message."""
        connection = FakeConnection()
        controller = sharing(100, connection)
        connection.arrive(3)
        controller.trial()
        connection.answer(2)
        assert connection.rdy == 2
        connection.arrive(1)
        assert connection.rdy == 2
        connection.answer(2)
        assert connection.rdy == 0
        controller.trial()
        assert connection.rdy == 1

    async def test_the_load_does_not_end_a_trial(self, hours: VirtualClock) -> None:
        connection = FakeConnection()
        controller = sharing(100, connection)
        connection.received += 100
        connection.answer(90)
        controller.trial()
        assert connection.rdy == 11
        await passed(hours, 60.0)
        assert connection.rdy == 11

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
