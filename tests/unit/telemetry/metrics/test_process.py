"""Process figures: those of a process that runs, and none of one that has ended."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nsqkit.telemetry.metrics import FAMILIES
from nsqkit.telemetry.metrics.process import ProcessFigures

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux has these figures")


def test_every_figure_is_in_the_table_of_families() -> None:
    figures = {family: number for family, _, number in ProcessFigures()()}
    assert list(figures) != []
    assert figures.keys() == {name for name in FAMILIES if name.startswith("nsqkit_process_")}
    assert figures["nsqkit_process_resident_memory_bytes"] > 1_000_000


def test_another_process_has_figures_of_its_own_until_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        started = {
            pid: {family: number for family, _, number in ProcessFigures(pid)()}
            for pid in (os.getpid(), other.pid)
        }
        other.communicate(b"\n")
    starts = [each["nsqkit_process_start_time_seconds"] for each in started.values()]
    assert starts[0] < starts[1]
    assert list(ProcessFigures(other.pid)()) == []
