"""The installed program, run as a person runs it."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import nsq_programs, nsqd, nsqlookupd, start_nsqd
from tests.waiting import PATIENCE_S, until_blocking

__all__ = ["nsq_programs", "nsqd", "nsqlookupd", "start_nsqd"]

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "data" / "orders.jsonl"
ANY_PORTS = ("--set", "dev_tcp_port=0", "--set", "dev_http_port=0")
NO_ADMIN = ("--admin-port", "0")


class Program:
    """One `nsqkit` process.

    Args:
        folder: Where its output goes.
        arguments: What stands behind `nsqkit`.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._out, self._err = folder / "out", folder / "err"
        known = {name: value for name, value in os.environ.items() if not name.startswith("NSQKIT_")}
        known["NSQKIT_EVENT_LOOP"] = "asyncio"  # what everybody has; uvloop has tests of its own
        known["NSQKIT_DEAD_STORE"] = str(folder / "dead-letters.sqlite")
        command = [str(Path(sys.executable).with_name("nsqkit")), *arguments]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=known, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its log, a line each; the last one may be on its way still."""
        lines = self.err.splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == event]

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something is so; the program must live as long."""

        def is_so() -> bool:
            is_running = self._process.poll() is None
            found = bool(condition())
            assert found or is_running, "it has ended"
            return found

        try:
            until_blocking(is_so)
        except AssertionError as error:
            error.add_note(self.err)
            raise

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Return the exit code."""
        return self._process.wait(PATIENCE_S)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        """The rows of its last table, by handler and by heading."""
        names = ("received", "success", "requeued", "rate", "dead_lettered")
        found = {}
        for line in self.out.splitlines():
            cells = line.replace(",", "").split()
            if len(cells) > len(names) and re.fullmatch(r"\d+", cells[1]):
                found[cells[0]] = dict(zip(names, cells[1:], strict=False))
        return found


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts `nsqkit` with arguments; whatever still runs at the end is killed."""
    programs: list[Program] = []

    def run(*arguments: str) -> Program:
        folder = tmp_path / f"program-{len(programs)}"
        folder.mkdir()
        programs.append(Program(folder, *arguments))
        return programs[-1]

    yield run
    for program in programs:
        program.kill()


def get(address: str, path: str) -> tuple[int, str]:
    """Return status and body; 0 where nobody answers."""
    asking = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    try:
        asking.request("GET", path)
        answer = asking.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        asking.close()
