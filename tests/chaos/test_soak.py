"""The short form of `scripts/chaos soak`: faults come and go, and all is as before without a restart."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import checkup
from tests.chaos.audit import audit
from tests.chaos.conftest import TIME_LIMIT_S
from tests.chaos.orders import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.nsqd]


def test_faults_that_come_and_go_leave_nothing_behind(nsq_programs: Path, tmp_path: Path) -> None:
    """Two minutes of faults, each sort at least once; the heap of a worker may still fill up meanwhile."""
    folder = tmp_path / "run"
    command = (sys.executable, "-m", "tests.chaos", "soak", "--minutes", "2", "--folder", str(folder))
    known = os.environ | {"NSQKIT_NSQD_BIN": str(nsq_programs)}
    with subprocess.Popen(
        command, cwd=ROOT, env=known, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as tool:
        try:
            out, _ = tool.communicate(timeout=TIME_LIMIT_S)
        finally:
            tool.terminate()  # and not kill(): it has processes of its own to end
    assert tool.returncode == 0, out
    found = audit(folder / "soak")
    assert found.problems == ()
    assert found.total.lost == 0
    assert found.total.confirmed >= 2000
    assert found.total.dead_lettered > 0
    record = checkup.load(folder / "soak")
    assert record is not None
    assert len(record.workers) == 2
