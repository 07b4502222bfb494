"""Waiting: for what a test cannot await, by asking again and again, but never for ever."""

import asyncio
import inspect
import linecache
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

PATIENCE_S = 60.0
"""The longest that a test waits for anything, however slow the machine; never the expected time."""
_LOOK_S = 0.005

T = TypeVar("T")
Holds = Callable[[T], object]


@overload
async def until(
    ask: Callable[[], Awaitable[T]], holds: Holds[T] = ..., timeout_s: float | None = ...
) -> T: ...
@overload
async def until(ask: Callable[[], T], holds: Holds[T] = ..., timeout_s: float | None = ...) -> T: ...
async def until(
    ask: Callable[[], Any], holds: Holds[Any] = bool, timeout_s: float | None = PATIENCE_S
) -> Any:
    """Ask until the answer is as it should be, and return the answer.

    Args:
        ask: Returns an answer, or an awaitable of one.
        holds: Whether an answer is as it should be; by default, whether it is true.
        timeout_s: Seconds until it fails; None for never, where the caller has a limit of its own.

    Raises:
        AssertionError: If it takes too long; names the condition and the last answer.
    """
    answer: Any = None
    try:
        async with asyncio.timeout(timeout_s) as limit:
            while True:
                answer = ask()
                if inspect.isawaitable(answer):
                    answer = await answer
                if holds(answer):
                    return answer
                await asyncio.sleep(_LOOK_S)  # for what announces nothing, such as another process
    except TimeoutError:
        if not limit.expired():
            raise
        raise _impatient(ask, holds, answer) from None


def until_blocking(ask: Callable[[], T], holds: Holds[T] = bool, timeout_s: float = PATIENCE_S) -> T:
    """Do the same for code without an event loop."""
    give_up_s = time.monotonic() + timeout_s
    while not holds(answer := ask()):
        if time.monotonic() > give_up_s:
            raise _impatient(ask, holds, answer)
        time.sleep(_LOOK_S)  # for what announces nothing, such as another process
    return answer


async def turns(count: int = 1) -> None:
    """Let the event loop turn: every other task that is ready runs, *count* times, and no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)  # a turn of the loop has no event


def _impatient(ask: Callable[[], object], holds: Holds[Any], answer: object) -> AssertionError:
    condition = ask if holds is bool else holds
    return AssertionError(f"this took too long: {_named(condition)}; the last answer: {answer!r}")


def _named(condition: Callable[..., object]) -> str:
    if not inspect.isfunction(condition):
        return repr(condition)
    code = condition.__code__
    line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
    return f"{condition.__qualname__} at {code.co_filename}:{code.co_firstlineno}, {line!r}"
