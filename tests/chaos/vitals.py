"""Vitals: what the system says of a worker while it runs: its memory and its file descriptors."""

import asyncio
import contextlib
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.chaos.memory import MIB, resident_bytes

_PARTS = 5
_SAMPLE_S = 0.5
MAX_MORE_DESCRIPTORS = 10
"""The connections to nsqd come and go; what leaks goes on growing."""


class Vitals(NamedTuple):
    """One look at a worker: its resident memory, and how many files and sockets it has open."""

    resident_bytes: int
    descriptors: int


async def watch(pid: int, samples: list[Vitals]) -> None:
    """Look at a process again and again, until cancelled or until it has ended. Needs Linux."""
    with contextlib.suppress(OSError):  # it has ended
        while True:
            samples.append(_look(pid))
            await asyncio.sleep(_SAMPLE_S)  # the interval of the samples


def _look(pid: int) -> Vitals:
    return Vitals(resident_bytes(pid), len(list(Path(f"/proc/{pid}/fd").iterdir())))


def parts(samples: Sequence[Vitals]) -> tuple[Vitals, Vitals]:
    """Return the vitals in the second fifth and in the last: the mean of the memory, the median of the rest.

    Raises:
        ValueError: If there are fewer than five samples.
    """
    if len(samples) < _PARTS:
        raise ValueError(f"{len(samples)} samples are too few")

    def part(number: int) -> Vitals:
        begin, end = (len(samples) * each // _PARTS for each in (number, number + 1))
        found = samples[begin:end]
        return Vitals(
            round(statistics.fmean(each.resident_bytes for each in found)),
            round(statistics.median(each.descriptors for each in found)),
        )

    return part(1), part(_PARTS - 1)


def grown(second: Vitals, last: Vitals, max_growth_bytes: int) -> Iterator[str]:
    """Yield a line for each of the vitals that is not flat.

    Args:
        second: Those of the second fifth.
        last: Those of the last.
        max_growth_bytes: How much more resident memory there may be.
    """
    more = last.resident_bytes - second.resident_bytes
    if more > max_growth_bytes:
        yield (
            f"its memory grew by {more / MIB:.1f} MiB from {second.resident_bytes / MIB:.1f} MiB in the "
            f"second fifth; at most {max_growth_bytes / MIB:.0f} MiB are allowed"
        )
    if last.descriptors > second.descriptors + MAX_MORE_DESCRIPTORS:
        yield f"its file descriptors grew from {second.descriptors} to {last.descriptors}"
