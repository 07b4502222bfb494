"""The pytest plugin, in runs of pytest of its own: a team's tests, its options and what they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[3]
TEAM = """
from dataclasses import dataclass
import pytest
from nsqkit import Context, Handler, event

@event("plugin.ordered", version=1, topic="orders")
@dataclass(frozen=True)
class Ordered:
    order_id: str

class Charge(Handler[Ordered], channel="charge"):
    async def handle(self, event: Ordered, ctx: Context) -> None:
        pass

async def settled(harness):
    async with harness([Charge]) as h:
        await h.publish(Ordered("o-1"))
        h.clock.advance(300)
        await h.settle()
        h.handled(Ordered).EXPECTATION
"""
BY_ASYNCIO = """
import asyncio
def test_it(harness):
    asyncio.run(settled(harness))
"""
BY_PLUGIN = """
async def test_it(harness):
    await settled(harness)
"""
BY_UNITTEST = """
import unittest
from nsqkit.testing import Harness
class TestIt(unittest.IsolatedAsyncioTestCase):
    async def test_it(self):
        await settled(Harness)
"""


def run(folder: Path, test: str, *arguments: str, expectation: str = "once()", **env: str) -> str:
    (folder / "test_team.py").write_text(TEAM.replace("EXPECTATION", expectation) + test)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("test", "arguments"),
    [
        pytest.param(BY_ASYNCIO, (), id="asyncio itself"),
        pytest.param(BY_PLUGIN, ("-o", "asyncio_mode=auto"), id="pytest-asyncio"),
        pytest.param(f"@pytest.mark.anyio\n{BY_PLUGIN.lstrip()}", ("-p", "no:asyncio"), id="anyio"),
        pytest.param(BY_UNITTEST, (), id="unittest"),
    ],
)
def test_it_works_whatever_runs_the_tests(test: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    if "anyio" in test:
        pytest.importorskip("anyio")
        test += "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    assert "1 passed" in run(tmp_path, test, *arguments)


def test_a_failure_prints_the_history_and_points_at_the_tests_line(tmp_path: Path) -> None:
    said = run(tmp_path, BY_ASYNCIO, expectation="times(2)")
    assert re.search(r"^>\s+h\.handled\(Ordered\)\.times\(2\)$", said, re.MULTILINE)
    assert "handled(Ordered): expected 2, found 1 (Charge 1)" in said
    assert "0.000 s  delivered to Charge, attempt 1" in said
    assert "1 failed" in said


@pytest.mark.nsqd
def test_on_a_real_nsqd_what_cannot_be_waited_for_is_skipped_with_a_line_that_says_why(
    tmp_path: Path, nsq_programs: Path
) -> None:
    said = run(tmp_path, BY_ASYNCIO, "--nsqkit-broker=nsqd", NSQKIT_NSQD_BIN=str(nsq_programs))
    assert "1 skipped" in said
    assert "needs the virtual clock: 300 s of real time would have to pass" in said


def test_without_a_nsqd_the_tests_fail_rather_than_being_skipped(tmp_path: Path) -> None:
    said = run(tmp_path, BY_ASYNCIO, "--nsqkit-broker=nsqd", NSQKIT_NSQD_BIN=str(tmp_path))
    assert "nsqd is not in" in said
    assert "1 failed" in said


def test_another_broker_is_refused(tmp_path: Path) -> None:
    assert "invalid choice: 'kafka'" in run(tmp_path, BY_ASYNCIO, "--nsqkit-broker=kafka")


def test_a_run_without_the_fixture_loads_no_harness() -> None:
    """For the plugin is in every run of pytest where nsqkit is installed."""
    code = "import sys, nsqkit.testing.plugin; print(*[n for n in ('tornado', 'nsq') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []
