"""The groups of tests, which run at the same time, each in a pytest process (ADR 0082).

``python -m tests.groups FOLDER`` prints each group's output as a whole, failed groups last. FOLDER gets a
file ``coverage.NAME`` of each group, and ``closing_line``, pytest's closing line for all groups together.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

GROUPS: Mapping[str, tuple[str, ...]] = {
    "unit": ("tests/unit",),
    "processes": (
        "tests/chaos",
        "tests/e2e",
        "tests/unit/loading",
        "tests/unit/process",
        "tests/unit/test_docs.py",
    ),
}
"""Paths by the group's name, balanced by time. A group more, ``rest``, has all other tests."""

_CLOSING_LINE = re.compile(
    r"^(=+ )?(?P<counts>no tests ran|\d+ \w+(, \d+ \w+)*) in [\d.]+s( \([\d:, days]+\))?( =+)?$", re.MULTILINE
)
_WORDS = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warning", "error")
_WIDTH = 80


@dataclass(frozen=True)
class Ended:
    """The end of a group.

    Args:
        name: Its name.
        passed: Whether pytest ended with 0.
        output: What it printed.
    """

    name: str
    passed: bool
    output: str


def selections(groups: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return pytest's arguments by the group's name: a test is in the group that names it most closely."""
    named = [path for paths in groups.values() for path in paths]

    def below(folders: tuple[str, ...]) -> Iterator[str]:
        for path in named:
            if any(path.startswith(f"{folder}/") for folder in folders):
                yield f"--ignore={path}"

    return {name: (*paths, *below(paths)) for name, paths in {**groups, "rest": ("tests",)}.items()}


def counts(output: str) -> Counter[str]:
    """Return pytest's counts by their words; one error if pytest ended without a closing line."""
    lines = list(_CLOSING_LINE.finditer(output))
    if not lines:
        return Counter(error=1)
    found = re.findall(r"(\d+) (\w+)", lines[-1]["counts"])
    return Counter({re.sub("s$", "", word): int(number) for number, word in found})


def closing_line(outputs: Iterable[str], seconds: float) -> str:
    """Return the line that pytest would have closed with, had it run all groups in *seconds*."""
    total: Counter[str] = sum((counts(output) for output in outputs), Counter())
    parts = [f"{total[word]} {word}{_plural(word, total[word])}" for word in _WORDS if total[word]]
    took = f"{seconds:.2f}s" if seconds < 60 else f"{seconds:.2f}s ({timedelta(seconds=int(seconds))})"
    return f" {', '.join(parts) or 'no tests ran'} in {took} ".center(_WIDTH, "=")


def _plural(word: str, number: int) -> str:
    return "s" if word in ("warning", "error") and number > 1 else ""


def _run(name: str, selection: tuple[str, ...], folder: Path) -> Ended:
    # Not pytest --cov: pytest loads nsqkit's plugin before pytest-cov starts to measure.
    command = (sys.executable, "-m", "coverage", "run", "-m", "pytest", "--color=no", *selection)
    done = subprocess.run(
        command,
        env=os.environ | {"COVERAGE_FILE": str(folder / f"coverage.{name}")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return Ended(name, done.returncode == 0, done.stdout)


def _ended(folder: Path) -> Iterator[Ended]:
    """Run all groups, and yield them in the order in which they end."""
    with ThreadPoolExecutor(len(GROUPS) + 1) as pool:
        runs = [pool.submit(_run, name, chosen, folder) for name, chosen in selections(GROUPS).items()]
        for run in as_completed(runs):
            yield run.result()


def _show(group: Ended) -> None:
    sys.stdout.write(
        f"--- tests: group {group.name} {'passed' if group.passed else 'FAILED'}\n{group.output}\n"
    )
    sys.stdout.flush()


def main(folder: Path) -> int:
    """Run all groups. Return 0 if all tests passed, else 1."""
    began_s = time.monotonic()
    ended: list[Ended] = []
    for group in _ended(folder):
        ended.append(group)
        if group.passed:
            _show(group)
    failed = [group for group in ended if not group.passed]
    for group in failed:
        _show(group)
    line = closing_line((group.output for group in ended), time.monotonic() - began_s)
    (folder / "closing_line").write_text(f"{line}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
