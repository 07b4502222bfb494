"""Loop: runs a program on the event loop that the settings name; the one place that knows uvloop."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from nsqkit.policy.errors import SettingsError

T = TypeVar("T")


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
