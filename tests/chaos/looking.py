"""Looking: waits for something in another process, by looking again and again, never for ever."""

import asyncio
from collections.abc import Callable

LOOK_S = 0.05
"""Between two looks."""
PATIENCE_S = 60.0
"""For a server to answer, for a process to end, for an order to arrive."""


async def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> bool:
    """Wait until something is so; return False if that takes too long."""
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + timeout_s
    while not condition():
        if loop.time() > give_up_s:
            return False
        await asyncio.sleep(LOOK_S)
    return True
