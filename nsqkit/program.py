"""Programs: run coroutines on the configured event loop, and handle stop signals. It exits no process."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from nsqkit.errors import SettingsError

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)

OnSecondSignal = Callable[[], object] | None


def run(main: Coroutine[Any, Any, T], event_loop: str) -> T:
    """Run a coroutine on a new event loop and return its result.

    Args:
        main: The coroutine to run.
        event_loop: ``asyncio``, ``uvloop``, or ``auto`` for uvloop if it is installed.

    Raises:
        SettingsError: If *event_loop* is ``uvloop`` and uvloop is not installed.
    """
    try:
        factory = _factory(event_loop)
    except SettingsError:
        main.close()
        raise
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def _factory(event_loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of the event loop; None for asyncio's default."""
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


def stop_event(on_second_signal: OnSecondSignal = None) -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets.

    Args:
        on_second_signal: Called at each further signal. By default Python handles them: SIGINT raises
            KeyboardInterrupt, and SIGTERM ends the process.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if on_second_signal is None:
            for each in SIGNALS:
                loop.remove_signal_handler(each)
        elif stop.is_set():
            on_second_signal()
        stop.set()

    for each in SIGNALS:
        loop.add_signal_handler(each, on_signal)
    return stop


async def unless(stop: asyncio.Event | Coroutine[Any, Any, object], work: Awaitable[object]) -> bool:
    """Run work to its end, unless *stop* comes first: then cancel the work.

    Args:
        stop: An event to be set, or a coroutine to end.
        work: A coroutine or future; it is done or cancelled when this function returns.

    Returns:
        Whether the work ended without being cancelled.

    Raises:
        Exception: The failure of the work, or of *stop*.
    """
    task = asyncio.ensure_future(work)
    stopped = asyncio.create_task(stop.wait() if isinstance(stop, asyncio.Event) else stop)
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        is_stopped = stopped.done()
        stopped.cancel()
        task.cancel()  # has no effect on a task that has ended
        await asyncio.wait({task, stopped})
    if task.cancelled() and is_stopped:
        stopped.result()
        return False
    task.result()
    return True


async def together(*work: Coroutine[Any, Any, object]) -> None:
    """Run coroutines concurrently, started in order, until all have ended.

    Raises:
        Exception: The first failure; the others are cancelled before it is raised.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for an event with a time limit, and return whether it is set.

    Args:
        event: The event to wait for.
        timeout_s: Longest wait in seconds; 0 or less gives other tasks one turn of the event loop.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, timeout_s)):
            await event.wait()
    return event.is_set()
