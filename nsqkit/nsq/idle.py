"""Idle: whether all messages are handled, by what nsqd says time and again."""

import asyncio
from collections.abc import Awaitable, Callable

INTERVAL_S = 0.1
_LOOKS = 3  # statistics are not atomic: one look can miss a message that moves
_LOOKS_A_REPORT = 100


async def wait_idle(
    is_idle: Callable[[], Awaitable[bool]],
    *,
    report: Callable[[], object],
    gives_up: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until three looks in a row find nothing left to handle.

    Args:
        is_idle: Looks once, and returns whether nothing was left.
        report: Called every ten seconds or so while something is left.
        gives_up: Asked before each look; returns whether waiting makes no sense any more.
    """
    looks = zeros = 0
    while zeros < _LOOKS and not gives_up():
        zeros = zeros + 1 if await is_idle() else 0
        looks += 1
        if looks % _LOOKS_A_REPORT == 0:
            report()
        await asyncio.sleep(INTERVAL_S)
