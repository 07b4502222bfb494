"""`nsqkit top` in a real terminal: it draws, follows keys and the size, and leaves the terminal as it was."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.unit.monitor.port import MonitorPort
from tests.waiting import PATIENCE_S, until

TO_ALTERNATE, FROM_ALTERNATE = "\x1b[?1049h", "\x1b[?1049l"
FIFTEEN_BARS = re.compile("[·▁-█]{15}")
"""As many as at 100 columns and more."""
SAMPLE_S = 0.02


class Terminal:
    """A terminal of 80 columns and 24 rows, and the program in it."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.text = ""
        self.resize(24, 80)
        self.before = termios.tcgetattr(self.slave)
        asyncio.get_running_loop().add_reader(self.master, self._read)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        environment = {name: each for name, each in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "nsqkit", "top", *arguments),
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=environment | {"TERM": "xterm-256color"},
        )

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    async def shows(self, text: str) -> None:
        """Wait until the program has drawn a text since the last call."""
        await until(lambda: text in self.text)
        self.text = ""

    def _read(self) -> None:
        self.text += os.read(self.master, 65536).decode(errors="replace")

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.master)
        os.close(self.slave)


@asynccontextmanager
async def _sampling(port: MonitorPort) -> AsyncIterator[MonitorPort]:
    """Serve a monitor that takes samples all the time."""
    port.number = await port.server.start()

    async def sample() -> None:
        while True:
            port.shop.run(1, failed=4)
            await asyncio.sleep(SAMPLE_S)  # the rate of the samples

    sampling = asyncio.create_task(sample())
    try:
        yield port
    finally:
        sampling.cancel()
        await port.server.stop()


@pytest.fixture
async def terminal() -> AsyncIterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.mark.parametrize("ending", [pytest.param("q", id="q"), pytest.param("SIGINT", id="Ctrl-C")])
async def test_it_is_drawn_until_somebody_quits(terminal: Terminal, ending: str) -> None:
    async with _sampling(MonitorPort()) as port:
        top = await terminal.start(port.address)
        await until(lambda: "sort: worst" in terminal.text)
        assert TO_ALTERNATE in terminal.text
        assert "Failing" in terminal.text
        await terminal.shows("Charge")
        terminal.press(b"s")
        await terminal.shows("sort: rate")
        terminal.resize(24, 120)
        os.kill(top.pid, signal.SIGWINCH)
        await until(lambda: FIFTEEN_BARS.search(terminal.text))
        if ending == "q":
            terminal.press(b"q")
        else:
            top.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            code = await top.wait()
    await until(lambda: FROM_ALTERNATE in terminal.text)
    assert (code, "Traceback" in terminal.text) == (0, False)
    assert termios.tcgetattr(terminal.slave) == terminal.before


async def test_a_worker_that_goes_and_comes_is_shown_as_such(terminal: Terminal) -> None:
    async with _sampling(MonitorPort()) as port:
        top = await terminal.start(port.address)
        await terminal.shows("Failing")
    await terminal.shows("No worker answers.")
    terminal.press(b"q")
    async with asyncio.timeout(PATIENCE_S):
        assert await top.wait() == 0
