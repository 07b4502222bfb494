"""An unread log: a worker goes on and ends although nobody reads its standard error."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import ANY_PORTS, NO_ADMIN, ROOT, SAMPLE
from tests.waiting import PATIENCE_S


def test_a_worker_whose_log_nobody_reads_handles_everything_and_ends(tmp_path: Path) -> None:
    known = {name: value for name, value in os.environ.items() if not name.startswith("NSQKIT_")}
    known["NSQKIT_DEAD_STORE"] = str(tmp_path / "dead-letters.sqlite")
    arguments = [
        "run",
        "handlers.orders",
        "--dev",
        "--exit-when-idle",
        "--log-success",
        "--feed",
        f"orders={SAMPLE}",
    ]
    reading, writing = os.pipe()  # 64 KiB: a small part of 8,000 lines
    with subprocess.Popen(
        [sys.executable, "-m", "nsqkit", *arguments, *ANY_PORTS, *NO_ADMIN],
        cwd=ROOT,
        env=known,
        stdout=subprocess.PIPE,
        stderr=writing,
        text=True,
    ) as process:
        os.close(writing)
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert re.findall(r"\b1,90[78]\b", out) == ["1,908", "1,907", "1,908", "1,908"]  # successes
    os.close(reading)
