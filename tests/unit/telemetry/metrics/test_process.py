"""Process figures: the operating system counts them, and the table of families names them."""

from pathlib import Path

import pytest

from nsqkit.telemetry.metrics import FAMILIES
from nsqkit.telemetry.metrics.process import process_figures

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux has these figures")


def test_every_figure_is_in_the_table_of_families() -> None:
    figures = {family: number for family, _, number in process_figures()}
    assert figures.keys() == {name for name in FAMILIES if name.startswith("nsqkit_process_")}
    assert figures["nsqkit_process_cpu_seconds_total"] > 0
    assert figures["nsqkit_process_resident_memory_bytes"] > 1_000_000
