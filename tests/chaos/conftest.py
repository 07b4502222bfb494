"""The tool as a person runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.orders import ROOT
from tests.integration.conftest import nsq_programs

__all__ = ["nsq_programs"]

TIME_LIMIT_S = 540
Chaos = Callable[..., dict[str, Any]]


@pytest.fixture
def chaos(nsq_programs: Path, tmp_path: Path) -> Chaos:
    """A function that runs one phase, and returns what the audit found."""

    def run(phase: str, *options: str) -> dict[str, Any]:
        command = (
            *(sys.executable, "-m", "tests.chaos", "--json", "--only", phase),
            *("--folder", str(tmp_path / "run"), "--time-limit", "300", *options),
        )
        known = os.environ | {"NSQKIT_NSQD_BIN": str(nsq_programs)}
        with subprocess.Popen(
            command, cwd=ROOT, env=known, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as tool:
            try:
                out, err = tool.communicate(timeout=TIME_LIMIT_S)
            finally:
                tool.terminate()  # and not kill(): it has processes of its own to end
        assert tool.returncode == 0, f"{out}\n{err}"
        found: dict[str, dict[str, Any]] = json.loads(out)
        return found[phase]

    return run


class Soak:
    """The short soak as a process, which runs beside the other tests: it takes two minutes.

    Args:
        folder: Where it leaves its ledgers.
        programs: The folder of nsqd.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder / "run"
        self._output = folder / "output"
        command = (
            sys.executable,
            "-m",
            "tests.chaos",
            "soak",
            "--minutes",
            "2",
            "--folder",
            str(self.folder),
        )
        known = os.environ | {"NSQKIT_NSQD_BIN": str(programs)}
        with self._output.open("wb") as output:
            self.tool = subprocess.Popen(command, cwd=ROOT, env=known, stdout=output, stderr=output)

    def wait(self) -> tuple[int, str]:
        """Return its exit code and what it printed."""
        return self.tool.wait(TIME_LIMIT_S), self._output.read_text()


@pytest.fixture(scope="session")
def soak(nsq_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soak]:
    """The short soak, started."""
    found = Soak(tmp_path_factory.mktemp("soak"), nsq_programs)
    try:
        yield found
    finally:
        found.tool.terminate()  # and not kill(): it has processes of its own to end
        found.tool.wait(TIME_LIMIT_S)


@pytest.fixture(autouse=True)
def soak_beside(request: pytest.FixtureRequest) -> None:
    """Start the soak with the first test of the tool that needs nsqd, if the soak is wanted at all."""
    wanted = any("soak" in getattr(item, "fixturenames", ()) for item in request.session.items)
    if wanted and request.node.get_closest_marker("nsqd"):
        request.getfixturevalue("soak")
