"""Lease keeper: what is held is touched at half of its lease, for as long as it is wanted, by one timer."""

import asyncio
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nsqkit.runtime.delivery import Delivery
from nsqkit.runtime.lease import LeaseKeeper
from nsqkit.testing.clock import VirtualClock
from tests.unit.runtime.bench import FakeMessage, passed, timers
from tests.unit.runtime.bench import delivery as delivery_of


class Timed(FakeMessage):
    """A message that notes when it is touched."""

    def __init__(self, now_s: Callable[[], float], **options: Any) -> None:
        self._now_s = now_s
        self._began_s = now_s()
        self.touches: list[float] = []
        super().__init__(**({"received_s": now_s()} | options))

    def touch(self) -> bool:
        if self.is_connected:
            self.touches.append(round(self._now_s() - self._began_s, 6))
        return self.is_connected


class Looked(list[Delivery]):
    """Deliveries that count how often somebody goes through them."""

    looks = 0

    def __iter__(self) -> Iterator[Delivery]:
        self.looks += 1
        return super().__iter__()


class Keeping:
    """A keeper, and what it keeps."""

    def __init__(self, hours: VirtualClock) -> None:
        self.hours = hours
        self.deliveries = Looked()
        self.told: list[tuple[float, Delivery]] = []
        self.began_s = hours.now_s()
        self.keeper = LeaseKeeper(self.deliveries, overdue=self.overdue, now_s=hours.now_s)

    def overdue(self, delivery: Delivery) -> None:
        self.told.append((round(self.hours.now_s() - self.began_s, 6), delivery))
        if delivery.task is None:
            self.deliveries.remove(delivery)

    def add(
        self, *, is_running: bool = False, keep_for_s: float = math.inf, **options: Any
    ) -> tuple[Delivery, Timed]:
        message = Timed(self.hours.now_s, **options)
        delivery = delivery_of(message)
        if is_running:
            delivery.task = asyncio.current_task()
            delivery.in_handler = True
            delivery.ctx = cast("Any", SimpleNamespace(deadline_s=message.received_s + keep_for_s))
        self.deliveries.append(delivery)
        self.keeper.watch(delivery)
        return delivery, message


@pytest.fixture
async def keeping(hours: VirtualClock) -> Keeping:
    return Keeping(hours)


class TestTouch:
    """At half of the lease, within its bounds."""

    async def test_what_runs_is_touched_until_its_time_is_over(
        self, hours: VirtualClock, keeping: Keeping
    ) -> None:
        _, message = keeping.add(is_running=True, keep_for_s=100.0)
        await passed(hours, 1000.0)
        assert message.touches == [30.0, 60.0, 90.0]

    async def test_what_runs_is_not_touched_past_nsqds_longest_lease(
        self, hours: VirtualClock, keeping: Keeping
    ) -> None:
        _, message = keeping.add(is_running=True, max_lease_s=100.0)
        await passed(hours, 1000.0)
        assert message.touches == [30.0, 60.0]

    async def test_what_is_settled_in_time_is_never_touched(
        self, hours: VirtualClock, keeping: Keeping
    ) -> None:
        _, message = keeping.add(is_running=True)
        await passed(hours, 29.0)
        keeping.deliveries.clear()
        await passed(hours, 1000.0)
        assert message.touches == []
        assert timers() == []

    async def test_what_arrives_later_has_its_own_time(self, hours: VirtualClock, keeping: Keeping) -> None:
        keeping.add(is_running=True)
        await passed(hours, 10.0)
        _, message = keeping.add(is_running=True)
        await passed(hours, 80.0)
        assert message.touches == [30.0, 60.0]

    async def test_a_shorter_lease_of_another_nsqd_is_kept_by_its_own_time(
        self, hours: VirtualClock, keeping: Keeping
    ) -> None:
        keeping.add(is_running=True, lease_s=60.0)
        _, message = keeping.add(is_running=True, lease_s=2.0)
        await passed(hours, 3.5)
        assert message.touches == [1.0, 2.0, 3.0]

    async def test_what_falls_due_about_the_same_time_is_touched_together(
        self, hours: VirtualClock, keeping: Keeping
    ) -> None:
        """Else each of thousands would have all of them looked at."""
        messages = []
        for _ in range(100):
            messages.append(keeping.add(is_running=True)[1])
            await passed(hours, 0.03)
        keeping.deliveries.looks = 0
        await passed(hours, 60.0)
        gaps_s = [
            later_s - earlier_s
            for message in messages
            for earlier_s, later_s in pairwise([0.0, *message.touches])
        ]
        assert all(26.0 < gap_s < 30.001 for gap_s in gaps_s), "early by a sixteenth of the lease at most"
        assert keeping.deliveries.looks <= 4, "twice a round, of which there were two"


class TestLost:
    """What is lost is left alone."""

    async def test_what_is_lost_is_never_touched_again(self, hours: VirtualClock, keeping: Keeping) -> None:
        """Or a late TOUCH would let it count as held, and its FIN meet the next delivery."""
        delivery, message = keeping.add(is_running=True)
        hours._now_s += 60.0  # the loop was blocked
        await passed(hours, 1000.0)
        assert message.touches == []
        assert delivery.is_lost(hours.now_s())

    async def test_what_runs_on_past_its_lease_is_told_of_and_needs_no_more_looks(
        self, hours: VirtualClock, keeping: Keeping
    ) -> None:
        delivery, _ = keeping.add(is_running=True, keep_for_s=20.0)
        await passed(hours, 1000.0)
        assert keeping.told == [(59.0, delivery)]
        assert keeping.deliveries.looks <= 4
        assert timers() == []

    async def test_a_lost_connection_makes_no_timer_spin(self, hours: VirtualClock, keeping: Keeping) -> None:
        delivery, message = keeping.add(is_running=True)
        await passed(hours, 10.0)
        message.is_connected = False
        await passed(hours, 1000.0)
        assert message.touches == []
        assert keeping.told == [(30.0, delivery), (59.0, delivery)], "lost, then over"
        assert keeping.deliveries.looks <= 4

    async def test_what_waits_and_is_lost_is_given_up_at_its_next_touch(
        self, hours: VirtualClock, keeping: Keeping
    ) -> None:
        delivery, message = keeping.add()
        message.is_connected = False
        await passed(hours, 1000.0)
        assert keeping.told == [(30.0, delivery)]


class TestNotStarted:
    """What waits is kept as long as nsqd lets it, and given back in time."""

    @pytest.mark.parametrize(
        ("lease_s", "max_lease_s", "given_back_s"),
        [
            pytest.param(60.0, 900.0, 898.0, id="a margin before the cap is another margin for the answer"),
            pytest.param(2.0, 900.0, 899.0, id="a short lease has a short margin"),
            pytest.param(60.0, 60.0, 58.0, id="a lease that cannot be prolonged"),
            pytest.param(60.0, 30.0, 58.0, id="a cap under the lease is none"),
        ],
    )
    async def test_it_is_told_of_before_nsqd_delivers_it_again(
        self, hours: VirtualClock, keeping: Keeping, lease_s: float, max_lease_s: float, given_back_s: float
    ) -> None:
        delivery, _ = keeping.add(lease_s=lease_s, max_lease_s=max_lease_s)
        await passed(hours, 2000.0)
        assert keeping.told == [(given_back_s, delivery)]
        assert not delivery.is_lost(keeping.began_s + given_back_s)
        assert timers() == []


class TestClose:
    async def test_it_leaves_no_timer_and_makes_none(self, hours: VirtualClock, keeping: Keeping) -> None:
        delivery, message = keeping.add(is_running=True)
        keeping.keeper.close()
        keeping.keeper.watch(delivery)
        assert timers() == []
        await passed(hours, 100.0)
        assert message.touches == []

    async def test_a_look_that_fails_is_followed_by_the_next(
        self, hours: VirtualClock, keeping: Keeping
    ) -> None:
        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))

        def fail(_: Delivery) -> None:
            keeping.deliveries.pop(0)
            raise RuntimeError("unforeseen")

        keeping.keeper._overdue = fail
        _, lost = keeping.add()
        lost.is_connected = False
        _, message = keeping.add(is_running=True)
        await passed(hours, 100.0)
        assert len(failures) == 1
        assert message.touches == [30.0, 60.0, 90.0]
