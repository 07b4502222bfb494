"""Slots: what runs, what may, and what is lost."""

from collections.abc import Callable

import pytest

from nsqkit.policy.verdict import RequeueReason
from nsqkit.runtime.delivery import Delivery
from nsqkit.runtime.gate import Gate
from nsqkit.runtime.slots import Slots
from nsqkit.testing.clock import VirtualClock
from tests.unit.runtime.bench import FakeMessage, RecordingLog, delivery


class Counted:
    """Four slots, their gate, and the sizes that the consumer hears of."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.gate = Gate(4, apply=lambda _: None, log=RecordingLog())
        self.slots = Slots(4, self.gate, resize=self.sizes.append)
        self.gate.on_change(self.slots.update)

    def start(self, count: int = 1) -> list[Delivery]:
        started = [delivery(FakeMessage(b"{}")) for _ in range(count)]
        for each in started:
            each.epoch = self.slots.epoch
        self.slots.running += count
        return started

    def rest(self) -> None:
        """Go through an outage up to its first trial."""
        self.gate.rest(RequeueReason.PAUSED, 1.0)
        self.gate.open(RequeueReason.PAUSED)
        self.gate.probe(1)


@pytest.fixture
async def counted(hours: VirtualClock) -> Counted:
    return Counted()


def lose(counted: Counted, lost: Delivery, *, is_full: bool = False) -> None:
    counted.slots.lose(lost, is_full=is_full)


class TestLost:
    async def test_a_lost_slot_neither_runs_nor_is_free(self, counted: Counted) -> None:
        first, _ = counted.start(2)
        lose(counted, first)
        slots = counted.slots
        assert (slots.running, slots.limit, slots.lost, counted.sizes) == (1, 3, 1, [3])

    async def test_it_comes_back_when_its_delivery_ends(self, counted: Counted) -> None:
        (first,) = counted.start()
        lose(counted, first)
        counted.slots.release(first)
        slots = counted.slots
        assert (slots.running, slots.limit, slots.lost, counted.sizes) == (0, 4, 0, [3, 4])

    async def test_one_that_leaves_no_room_leaves_no_slot(self, counted: Counted) -> None:
        first, second = counted.start(2)
        lose(counted, first, is_full=True)
        assert (counted.slots.limit, counted.sizes) == (0, [0])
        lose(counted, second, is_full=True)
        counted.slots.release(first)
        assert counted.slots.limit == 3

    async def test_all_lost_none_may_run(self, counted: Counted) -> None:
        for each in counted.start(4):
            lose(counted, each)
        assert (counted.slots.running, counted.slots.limit) == (0, 0)


class TestTrial:
    @pytest.mark.parametrize(
        ("running", "lost", "limit"),
        [
            pytest.param(0, 0, 1, id="one may run"),
            pytest.param(3, 0, 4, id="beside those that began before"),
            pytest.param(4, 0, 4, id="if a slot is free"),
            pytest.param(0, 3, 1, id="lost slots do not count"),
            pytest.param(0, 4, 0, id="but hold a thread each"),
        ],
    )
    async def test_what_began_before_does_not_take_the_place_of_a_trial(
        self, counted: Counted, running: int, lost: int, limit: int
    ) -> None:
        started = counted.start(running + lost)
        for each in started[:lost]:
            lose(counted, each)
        counted.rest()
        assert counted.slots.limit == limit

    @pytest.mark.parametrize("end", [Slots.release, lambda slots, each: slots.lose(each, is_full=False)])
    async def test_the_room_is_the_same_when_one_of_them_ends_or_is_lost(
        self, counted: Counted, end: Callable[[Slots, Delivery], None]
    ) -> None:
        first, _ = counted.start(2)
        counted.rest()
        assert counted.slots.limit - counted.slots.running == 1
        end(counted.slots, first)
        assert counted.slots.limit - counted.slots.running == 1
        assert counted.slots.running == 1

    async def test_a_shut_gate_lets_none_run(self, counted: Counted) -> None:
        counted.start(2)
        counted.gate.rest(RequeueReason.PAUSED, 1.0)
        assert counted.slots.limit == 0
