"""Signals: how a process is told to stop, and how it ends when a thread of its own will not."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def stop_event() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; a second signal ends the process at once, with 1."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            sys.stderr.write("second signal: ending at once; nsqd delivers again what was not settled\n")
            end_at_once(1)
        stop.set()

    for each in SIGNALS:
        loop.add_signal_handler(each, on_signal)
    return stop


def end_at_once(code: int) -> None:
    """End the process without waiting for its threads, which the interpreter would do."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, or it is closed
            stream.flush()
    os._exit(code)


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, object]) -> bool:
    """Run something to its end, or cancel it once *stop* is set; return whether it came to its end.

    Raises:
        Exception: What it raised.
    """
    task = asyncio.ensure_future(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        task.cancel()  # does nothing to what has ended
    await asyncio.wait({task})
    if task.cancelled() and stop.is_set():
        return False
    task.result()
    return True
