"""Slices: the event loop turns between them, and nothing is left out."""

import asyncio

from nsqkit.monitor.slices import sliced


async def test_the_loop_turns_between_slices() -> None:
    seen: list[int | str] = []

    async def turn() -> None:
        while True:
            seen.append("turn")
            await asyncio.sleep(0)  # a turn of the loop has no event

    turning = asyncio.create_task(turn())
    async for item in sliced(range(5), 2):
        seen += [item]
    turning.cancel()
    assert seen == [0, 1, "turn", 2, 3, "turn", 4]
