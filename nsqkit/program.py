"""Program: runs a coroutine on the event loop that the settings name, until it ends or a signal stops it."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from nsqkit.errors import SettingsError

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(main: Coroutine[Any, Any, T], event_loop: str) -> T:
    """Run a program to its end, and return its result.

    Args:
        main: The program.
        event_loop: The setting: ``asyncio``, ``uvloop``, or ``auto`` for uvloop where it is installed.

    Raises:
        SettingsError: If uvloop is asked for and not installed.
    """
    try:
        factory = _factory(event_loop)
    except SettingsError:
        main.close()
        raise
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def _factory(event_loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop; None for asyncio's own."""
    if event_loop == "asyncio":
        return None
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        if event_loop == "uvloop":
            raise SettingsError(
                "event_loop=uvloop: uvloop is not installed: pip install 'nsqkit[speed]'"
            ) from None
        return None
    return new_event_loop


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
