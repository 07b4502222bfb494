"""The tool as a person runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
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
