"""Programs: run coroutines on the configured event loop, and handle stop signals. It exits no process."""

import asyncio
import contextlib
import itertools
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from nsqkit.errors import SettingsError

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
END_S = 2.0
"""Seconds that cancelled tasks, and then the threads of the event loop's executor, get to end."""
_THREADS = "nsqkit-loop"

OnSecondSignal = Callable[[], object] | None


def run(
    main: Coroutine[Any, Any, T],
    event_loop: str,
    *,
    on_left: Callable[[tuple[str, ...]], object] = lambda _left: None,
) -> T:
    """Run a coroutine on a new event loop and return its result.

    At the end the remaining tasks are cancelled. A task that ignores this, or a thread of the loop's executor
    that does not end (``asyncio.to_thread``), delays the return by ``END_S`` at most and is left running.

    Args:
        main: The coroutine to run.
        event_loop: ``asyncio``, ``uvloop``, or ``auto`` for uvloop if it is installed.
        on_left: Called with the tasks and threads that are left running, one name each, if there are any.

    Raises:
        SettingsError: If *event_loop* is ``uvloop`` and uvloop is not installed.
        RuntimeError: If an event loop is running here, or this is not the main thread.
    """
    try:
        _check_place()
        factory = _factory(event_loop)
    except (SettingsError, RuntimeError):
        main.close()
        raise
    runner = asyncio.Runner(loop_factory=factory)
    executor = ThreadPoolExecutor(thread_name_prefix=_THREADS)  # asyncio's own would be awaited for ever
    runner.get_loop().set_default_executor(executor)
    try:
        return runner.run(main)
    finally:
        left = (*runner.run(_cancel_tasks()), *_end_threads(executor))
        if left:
            runner.get_loop().close()  # the runner's close would wait for them
            on_left(left)
        else:
            runner.close()


def _check_place() -> None:
    """Refuse to run where a new event loop cannot run, or cannot receive signals."""
    remedy = "write async with Worker(…), which leaves the event loop and the signals to your program"
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - documented for libraries like this
        raise RuntimeError(f"an event loop is already running, as in a notebook or a web server: {remedy}")
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(f"only the main thread receives signals; in another one, {remedy}")


async def _cancel_tasks() -> tuple[str, ...]:
    """Cancel all other tasks, and return the names of those that do not end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        _, tasks = await asyncio.wait(tasks, timeout=END_S)
    for task in tasks:  # asyncio would also log each one as destroyed
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as in asyncio.gather
    return tuple(sorted(f"task {task.get_name()}" for task in tasks))


def _end_threads(executor: ThreadPoolExecutor) -> tuple[str, ...]:
    """Wait for the threads of the loop's executor, and return the names of those that do not end."""
    executor.shutdown(wait=False, cancel_futures=True)
    give_up_s = time.monotonic() + END_S
    threads = [each for each in threading.enumerate() if each.name.startswith(_THREADS)]
    for thread in threads:
        thread.join(max(0.0, give_up_s - time.monotonic()))
    return tuple(f"thread {each.name}" for each in threads if each.is_alive())


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
            KeyboardInterrupt, and SIGTERM ends the process. Both also work while the event loop is blocked.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = itertools.count(1)

    def restore() -> None:
        for each in SIGNALS:
            loop.remove_signal_handler(each)

    def on_signal() -> None:
        if on_second_signal is None:
            restore()
        stop.set()

    def on_number(number: int, _frame: object) -> None:
        if next(signals) == 1:
            return
        if on_second_signal is None:
            restore()
            signal.raise_signal(number)
        else:
            on_second_signal()

    for each in SIGNALS:
        loop.add_signal_handler(each, on_signal)
        signal.signal(each, on_number)  # the loop's own does nothing: the loop reads signals from a pipe
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
    tasks = [asyncio.ensure_future(each) for each in work]
    if not tasks:
        return
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:  # a TaskGroup would forget that it was cancelled if a coroutine fails at this moment
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


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
