"""Origin: find the line of the team's code in a traceback or a stack; it never returns a line of nsqkit."""

import importlib
import os
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

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
    frames = traceback.walk_tb(leaves(error)[0].__traceback__)
    return own_place([(frame.f_code.co_filename, line) for frame, line in frames], or_library=or_library)


def own_place(places: Sequence[tuple[str, int]], *, or_library: bool = False) -> str:
    """Return ``file:line`` of the innermost line of the team's own code in a stack.

    Args:
        places: File and line of each frame, the outermost first.
        or_library: Whether to return the innermost line of a library if no line is the team's own.

    Returns:
        ``file:line``; empty if there is no such line.
    """
    outside = [(file, line) for file, line in places if not file.startswith(_MACHINERY)]
    own = [(file, line) for file, line in outside if not file.startswith(_LIBRARIES)]
    if not own and or_library:
        own = outside
    return f"{own[-1][0]}:{own[-1][1]}" if own else ""
