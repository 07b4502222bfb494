"""Memory: how much of it a worker has while orders go by, and whether that grows."""

import asyncio
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MIB = 1 << 20
MAX_GROWTH_BYTES = 5 * MIB
WARM_UP_RATIO = 0.1
COMPARED_RATIO = 0.1
_SAMPLE_S = 0.1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Sample(NamedTuple):
    """One look at a worker: how many orders it had handled, and its resident memory."""

    handled: int
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Growth:
    """How much memory there was in the mean.

    Args:
        first_bytes: While the first tenth of the orders after the warm-up, itself a tenth, went by.
        last_bytes: While the last tenth went by.
    """

    first_bytes: float
    last_bytes: float

    @property
    def is_flat(self) -> bool:
        """Whether it did not grow by more than 5 MiB."""
        return self.last_bytes - self.first_bytes <= MAX_GROWTH_BYTES

    def __str__(self) -> str:
        first, last = self.first_bytes / MIB, self.last_bytes / MIB
        return (
            f"first tenth after warm-up {first:.1f} MiB, last tenth {last:.1f} MiB: {last - first:+.1f} MiB"
        )


def growth(samples: Sequence[Sample]) -> Growth:
    """Compare the two ends of a run.

    Args:
        samples: From the first order to the last.

    Raises:
        ValueError: If there is no sample in one of the two tenths.
    """
    total = max((each.handled for each in samples), default=0)

    def mean_bytes(begin: float, end: float) -> float:
        found = [each.resident_bytes for each in samples if begin * total < each.handled <= end * total]
        if not found:
            raise ValueError(f"no sample between {begin:.0%} and {end:.0%} of {total} orders")
        return statistics.fmean(found)

    first_bytes = mean_bytes(WARM_UP_RATIO, WARM_UP_RATIO + COMPARED_RATIO)
    return Growth(first_bytes, mean_bytes(1.0 - COMPARED_RATIO, 1.0))


async def sample(pid: int, handled: Callable[[], int], samples: list[Sample]) -> None:
    """Look at a process again and again, until cancelled."""
    while True:
        samples.append(Sample(handled(), resident_bytes(pid)))
        await asyncio.sleep(_SAMPLE_S)  # the interval of the samples


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process. Needs Linux."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
