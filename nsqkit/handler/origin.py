"""Origin: find the line of the team's code that raised, runs or waits; it never returns a line of nsqkit."""

import importlib
import inspect
import os
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from nsqkit.errors import UnawaitedError
from nsqkit.policy.leaves import leaves

_MACHINERY: Final = (
    "<",  # frozen modules, and code without a file
    *(f"{each}{os.sep}" for each in (Path(__file__).parents[1], Path(importlib.__file__).parent)),
)
_LIBRARIES: Final = tuple(
    {f"{sysconfig.get_path(each)}{os.sep}" for each in ("stdlib", "platstdlib", "purelib", "platlib")}
)


def place_of(error: BaseException | None, *, or_library: bool = False) -> str:
    """Return ``file:line`` of the innermost line of the team's own code in a traceback.

    Args:
        error: The raised exception, of a group its first leaf; None returns the empty string.
        or_library: Whether to return the innermost line of a library if no line is the team's own.

    Returns:
        ``file:line``; empty if there is no such line.
    """
    if error is None:
        return ""
    leaf = leaves(error)[0]
    if isinstance(leaf, UnawaitedError):
        return leaf.at
    frames = traceback.walk_tb(leaf.__traceback__)
    return own_place([(frame.f_code.co_filename, line) for frame, line in frames], or_library=or_library)


def is_own(file: str) -> bool:
    """Return whether code of this file is the team's: not of nsqkit, Python or an installed library."""
    return not file.startswith(_MACHINERY + _LIBRARIES)


def waits_at(coroutine: Any) -> str:
    """Return ``file:line`` of the innermost line of the team's own code at which a coroutine waits.

    Args:
        coroutine: A suspended coroutine.

    Returns:
        ``file:line``; empty if there is no such line.
    """
    places = []
    while inspect.iscoroutine(coroutine) and coroutine.cr_frame is not None:
        places.append((coroutine.cr_frame.f_code.co_filename, coroutine.cr_frame.f_lineno))
        coroutine = coroutine.cr_await
    return own_place(places)


def own_place(places: Sequence[tuple[str, int]], *, or_library: bool = False) -> str:
    """Return ``file:line`` of the innermost line of the team's own code in a stack.

    Args:
        places: File and line of each frame, the outermost first.
        or_library: Whether to return the innermost line of a library if no line is the team's own.

    Returns:
        ``file:line``; empty if there is no such line.
    """
    outside = [(file, line) for file, line in places if not file.startswith(_MACHINERY)]
    own = [(file, line) for file, line in outside if is_own(file)]
    if not own and or_library:
        own = outside
    return f"{own[-1][0]}:{own[-1][1]}" if own else ""
