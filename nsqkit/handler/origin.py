"""Origin: the line of a team's own code that an exception came from; lines of nsqkit are never shown."""

import importlib
import os
import sysconfig
import traceback
from pathlib import Path
from typing import Final

_MACHINERY: Final = (
    "<",  # frozen modules, and code that is in no file
    *(f"{each}{os.sep}" for each in (Path(__file__).parents[1], Path(importlib.__file__).parent)),
)
_LIBRARIES: Final = tuple(
    {f"{sysconfig.get_path(each)}{os.sep}" for each in ("stdlib", "platstdlib", "purelib", "platlib")}
)


def place_of(error: BaseException | None, *, or_library: bool = False) -> str:
    """Return ``file:line`` of the innermost line of the team's own code in a traceback.

    Args:
        error: The exception; None has no place.
        or_library: Whether the innermost line of a library is returned where no line is the team's own.

    Returns:
        The place; empty if there is no such line.
    """
    if error is None:
        return ""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    outside = [(file, line) for file, line in frames if not file.startswith(_MACHINERY)]
    own = [(file, line) for file, line in outside if not file.startswith(_LIBRARIES)]
    if not own and or_library:
        own = outside
    return f"{own[-1][0]}:{own[-1][1]}" if own else ""
