"""The dependency: what some handlers of all workers need. It is away while a file exists."""

import asyncio
from pathlib import Path

AWAY = "dependency.away"
"""Name of the file, in the folder of the phase."""
_CALL_S = 0.02


class AwayError(ConnectionError):
    """The dependency is away."""


class Dependency:
    """The dependency, as its callers and the tool see it.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def call(self) -> None:
        """Call it.

        Raises:
            AwayError: If it is away.
        """
        await asyncio.sleep(_CALL_S)  # the call
        if self._path.exists():
            raise AwayError

    def go_away(self) -> None:
        """Let all calls fail."""
        self._path.touch()

    def come_back(self) -> None:
        """Let calls succeed again."""
        self._path.unlink()
