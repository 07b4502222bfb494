"""Idle: wait until all messages are handled, by polling nsqd's statistics."""

import asyncio
from collections.abc import Awaitable, Callable

INTERVAL_S = 0.1
_LOOKS = 3  # statistics are not atomic: one check can miss a message
_LOOKS_A_REPORT = 100


async def wait_idle(
    is_idle: Callable[[], Awaitable[bool]],
    *,
    report: Callable[[], object],
    gives_up: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until three checks in a row find no message left to handle.

    Args:
        is_idle: Checks once, and returns whether no message is left.
        report: Called about every ten seconds while messages are left.
        gives_up: Called before each check; returns whether to stop waiting.
    """
    looks = zeros = 0
    while zeros < _LOOKS and not gives_up():
        zeros = zeros + 1 if await is_idle() else 0
        looks += 1
        if looks % _LOOKS_A_REPORT == 0:
            report()
        await asyncio.sleep(INTERVAL_S)
