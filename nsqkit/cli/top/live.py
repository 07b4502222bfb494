"""Live: redraws the screen in a terminal after each look, until a key or a signal ends it."""

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from nsqkit.cli.top import screen
from nsqkit.ops.top import SORTS, Look
from nsqkit.program import stop_event, unless

LookAt = Callable[[], Awaitable[tuple[Look, ...]]]
_LEAST_ROWS: Final = 3
_MOST_KEYS: Final = 64


class Screen:
    """The screen of a terminal, its keys, and the order of the handlers.

    Args:
        console: The terminal.
        looks: The first look.
    """

    def __init__(self, console: Console, looks: Sequence[Look]) -> None:
        self._console = console
        self._looks = looks
        self._sort = SORTS[0]
        self._live = Live(console=console, screen=True, auto_refresh=False)

    async def run(self, look_at: LookAt, interval_s: float) -> None:
        """Look and draw again and again, until Ctrl-C, SIGTERM or the key q.

        Args:
            look_at: Looks at the workers.
            interval_s: Seconds between two looks.
        """
        stop = stop_event()
        loop = asyncio.get_running_loop()
        descriptor = sys.stdin.fileno()
        with _keys(descriptor), self._live:
            loop.add_reader(descriptor, self._on_keys, descriptor, stop)
            loop.add_signal_handler(signal.SIGWINCH, self._draw)
            try:
                self._draw()
                await unless(stop, self._follow(look_at, interval_s))
            finally:
                loop.remove_reader(descriptor)
                loop.remove_signal_handler(signal.SIGWINCH)

    async def _follow(self, look_at: LookAt, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            self._looks = await look_at()
            self._draw()

    def _on_keys(self, descriptor: int, stop: asyncio.Event) -> None:
        keys = os.read(descriptor, _MOST_KEYS)
        if not keys or b"q" in keys:  # the terminal is gone, or somebody quits
            stop.set()
        for _ in range(keys.count(b"s")):
            self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        if keys:
            self._draw()

    def fitted(self) -> RenderableType:
        """Return what fits into the height: if need be without empty lines, then with fewer handlers."""
        width, height = self._console.size
        rows = sum(len(look.screen["handlers"]) for look in self._looks if look.screen is not None)
        shown = self._shown(width, rows)
        if self._lines(shown) > height:
            shown = self._shown(width, rows, is_dense=True)
        if (over := self._lines(shown) - height) > 0:
            shown = self._shown(width, max(_LEAST_ROWS, rows - over - 1), is_dense=True)
        return shown

    def _draw(self) -> None:
        self._live.update(self.fitted(), refresh=True)

    def _shown(self, width: int, most: int, *, is_dense: bool = False) -> RenderableType:
        parts = screen.parts(self._looks, sort=self._sort, width=width, most=most)
        keys = Text.assemble(("q", "bold"), " quit  ", ("s", "bold"), f" sort: {self._sort}", style="dim")
        spaced = parts if is_dense else [each for part in parts for each in (part, Text())]
        return Group(*spaced, keys)

    def _lines(self, shown: RenderableType) -> int:
        return len(self._console.render_lines(shown, pad=False))


@contextmanager
def _keys(descriptor: int) -> Iterator[None]:
    """Let the terminal deliver each key at once, and show none."""
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
