"""Interleaved rounds: each round measures all programs once, and starts with another program."""

import sys
from collections.abc import Callable, Container, Iterable, Sequence
from typing import TypeVar

from bench.programs import Program, ProgramError

One = TypeVar("One")


def interleaved(
    programs: Iterable[Program], rounds: int, measured: Callable[[Program], One]
) -> dict[Program, list[One]]:
    """Return the figures of each program, one for each round; a program that fails is reported and left out.

    Args:
        programs: Programs to measure; those that are not installed are left out.
        rounds: Number of rounds; 1 or more.
        measured: Measures a program once.
    """
    found: dict[Program, list[One]] = {program: [] for program in programs if program.is_installed}
    for number in range(rounds):
        for program in rotated(list(found), number):
            try:
                found[program].append(measured(program))
            except ProgramError as error:
                print(f"bench: {error}", file=sys.stderr)
                del found[program]
    return found


def rotated(programs: Sequence[Program], by: int) -> list[Program]:
    """Return the programs in the same cyclic order, with the first *by* ones at the end."""
    start = by % max(len(programs), 1)
    return [*programs[start:], *programs[:start]]


def left_out(programs: Iterable[Program], found: Container[Program]) -> list[str]:
    """Return the names of the programs without figures: not installed, or failed."""
    return [program.name for program in programs if program not in found]
