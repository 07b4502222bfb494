"""Signals: how a program of the example waits for its end."""

import asyncio
import signal


async def stopped() -> None:
    """Return at SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    await stop.wait()
