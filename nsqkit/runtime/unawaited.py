"""Unawaited: notice coroutines that a handler creates and never awaits. It costs nothing until there is one.

Python reports such a coroutine when it is dropped, with a warning that filters may hide. This module sees it
first, and looks for a handler's call among the callers of the code that dropped it (ADR 0036).
"""

import dis
import sys
import warnings
from collections.abc import Callable, Coroutine, Mapping
from types import CodeType, FrameType
from typing import Any, Final, Protocol

from nsqkit.errors import UnawaitedError
from nsqkit.handler.origin import is_own

_HOOK: Final = "_warn_unawaited_coroutine"
"""CPython calls this function of ``warnings`` with each dropped coroutine; private, the same since 3.7."""
_POP_TOP: Final = dis.opmap["POP_TOP"]
"""The instruction that drops the value of an expression statement."""


class Blamed(Protocol):
    """The second argument of a handler's call.

    Attributes:
        unawaited: The first coroutine that the call has not awaited; None if there is none.
    """

    unawaited: UnawaitedError | None


Finds = Callable[[Mapping[str, Any]], Blamed]
"""Returns the second argument of a call from the local variables of a frame of nsqkit."""

_calls: dict[CodeType, Finds] = {}
_packages: set[str] = set()


def watch(module: str, calls: Mapping[CodeType, Finds]) -> None:
    """Notice unawaited coroutines in the calls of a handler, from now on.

    Args:
        module: Module of the handler; all code of its top-level package is the team's own.
        calls: The functions of nsqkit that call handlers.
    """
    _packages.add(_package(module))
    if not _calls and hasattr(warnings, _HOOK):
        _install(getattr(warnings, _HOOK))
    _calls.update(calls)


def raise_unawaited(argument: Blamed) -> None:
    """Raise the error of a call that has returned, if it left a coroutine unawaited.

    Raises:
        UnawaitedError: If there is such a coroutine.
    """
    error, argument.unawaited = argument.unawaited, None
    if error is not None:
        raise error


def _install(python_reports: Callable[[Any], None]) -> None:
    """Replace Python's report, for coroutines that belong to a handler's call only."""
    n_references = 0  # to a coroutine that is dropped; the garbage collector has one more

    def measure(coroutine: Any) -> None:
        nonlocal n_references
        n_references = sys.getrefcount(coroutine)

    def report(coroutine: Any) -> None:
        frames = _frames_of_call(sys._getframe(1))  # noqa: SLF001 - who dropped it
        is_dropped_here = sys.getrefcount(coroutine) == n_references
        if frames and is_dropped_here and _is_slip(frames[0], coroutine):
            argument = _calls[frames[-1].f_code](frames[-1].f_locals)
            argument.unawaited = argument.unawaited or _error(coroutine, frames)
        else:
            python_reports(coroutine)

    setattr(warnings, _HOOK, measure)
    _dropped()  # type: ignore[unused-coroutine]
    setattr(warnings, _HOOK, report)


async def _dropped() -> None:
    """Do nothing."""


def _frames_of_call(frame: FrameType | None) -> list[FrameType]:
    """Return the frames from this one to that of the running handler call; none if there is no such call."""
    frames = []
    while frame is not None:
        frames.append(frame)
        if frame.f_code in _calls:
            return frames
        frame = frame.f_back
    return []


def _is_slip(frame: FrameType, coroutine: Coroutine[Any, Any, Any]) -> bool:
    """Return whether the team's code forgot the ``await``, and not a library that it uses."""
    made = coroutine.cr_frame  # type: ignore[attr-defined]
    if made is not None and _is_own(made):
        return True
    return _is_own(frame) and frame.f_code.co_code[frame.f_lasti] == _POP_TOP


def _error(coroutine: Any, frames: list[FrameType]) -> UnawaitedError:
    """Return the error with the line that dropped the coroutine, else with that of its definition."""
    places = [(each.f_code.co_filename, each.f_lineno) for each in frames if _is_own(each)]
    places.append((coroutine.cr_code.co_filename, coroutine.cr_code.co_firstlineno))
    file, line = next((file, line) for file, line in places if line is not None)
    return UnawaitedError(coroutine.__qualname__, f"{file}:{line}")


def _is_own(frame: FrameType) -> bool:
    return is_own(frame.f_code.co_filename) or _package(frame.f_globals.get("__name__", "")) in _packages


def _package(module: str) -> str:
    return module.partition(".")[0]
