"""The turns of the event loop, noted by one timer; ``test_arrival.py`` tests what they say about blocks."""

import asyncio

from nsqkit.nsq.turns import Turns


async def test_connections_of_one_loop_share_one_timer() -> None:
    first = Turns.join()
    before = _timers()
    others = [Turns.join() for _ in range(100)]
    assert all(each is first for each in others)
    assert _timers() == before
    for each in (first, *others):
        each.leave()


async def test_the_timer_ends_with_the_last_connection() -> None:
    before = _timers()
    first, second = Turns.join(), Turns.join()
    first.leave()
    assert _timers() == before + 1
    second.leave()
    assert _timers() == before
    again = Turns.join()
    assert again is not first
    again.leave()


def test_each_loop_has_its_own() -> None:
    async def joined() -> Turns:
        turns = Turns.join()
        turns.leave()
        return turns

    assert asyncio.run(joined()) is not asyncio.run(joined())


def _timers() -> int:
    """Return the number of timers of the running loop that are not cancelled."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return sum(not each.cancelled() for each in scheduled)
