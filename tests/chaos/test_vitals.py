import asyncio
import os
from pathlib import Path

import pytest

from tests.chaos.vitals import Vitals, parts, watch
from tests.waiting import until


def test_the_second_fifth_is_compared_with_the_last() -> None:
    samples = [Vitals(number, number) for number in (99, 99, 1, 3, 99, 99, 99, 99, 6, 8)]
    assert parts(samples) == (Vitals(2, 2), Vitals(7, 7))


def test_memory_counts_in_the_mean_and_files_in_the_median() -> None:
    """Clients of one fault open many files for a while."""
    samples = [Vitals(0, 0)] * 12 + [Vitals(10, 10), Vitals(10, 10), Vitals(100, 1000)]
    assert parts(samples)[1] == Vitals(40, 10)


def test_a_run_that_was_hardly_looked_at_proves_nothing() -> None:
    with pytest.raises(ValueError, match="4 samples are too few"):
        parts([Vitals(1, 1)] * 4)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc, which only Linux has")
async def test_a_process_is_looked_at_until_cancelled() -> None:
    samples: list[Vitals] = []
    task = asyncio.create_task(watch(os.getpid(), samples))
    await until(lambda: len(samples) >= 2)
    task.cancel()
    assert samples[0].descriptors > 2
    assert samples[0].resident_bytes > 1 << 20
