import os
from pathlib import Path

import pytest

from tests.chaos.memory import MIB, Growth, Sample, growth, resident_bytes


def run(*resident_mib: float) -> list[Sample]:
    """Return one sample for each tenth of a run of 100 orders."""
    return [Sample(10 * (tenth + 1), round(each * MIB)) for tenth, each in enumerate(resident_mib)]


def test_the_tenth_after_the_warm_up_is_compared_with_the_last() -> None:
    found = growth(run(10, 60, 99, 99, 99, 99, 99, 99, 99, 64))
    assert found == Growth(first_bytes=60 * MIB, last_bytes=64 * MIB)


@pytest.mark.parametrize(
    ("last_mib", "is_flat"),
    [
        pytest.param(50, True, id="less than before"),
        pytest.param(65, True, id="5 MiB more"),
        pytest.param(65.1, False, id="still more"),
    ],
)
def test_five_mib_are_the_bound(last_mib: float, *, is_flat: bool) -> None:
    assert growth(run(10, 60, 60, 60, 60, 60, 60, 60, 60, last_mib)).is_flat is is_flat


def test_the_mean_of_a_tenth_counts() -> None:
    samples = [*run(10, 60, 60, 60, 60, 60, 60, 60, 60), Sample(95, 60 * MIB), Sample(100, 62 * MIB)]
    assert growth(samples).last_bytes == 61 * MIB


def test_a_run_that_was_hardly_looked_at_proves_nothing() -> None:
    with pytest.raises(ValueError, match="no sample between 10% and 20% of 100 orders"):
        growth([Sample(100, MIB)])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc, which only Linux has")
def test_the_memory_of_a_process_is_read_from_the_system() -> None:
    assert MIB < resident_bytes(os.getpid()) < 100_000 * MIB
