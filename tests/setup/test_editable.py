"""An editable install shows a team's project nsqkit, to Python and to type checkers, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RIGHT = """
import msgspec

from nsqkit import Context, Handler, event
from nsqkit.testing import Harness

import handlers


@event("order.created", version=1, topic="orders")
class OrderCreated(msgspec.Struct, frozen=True):
    order_id: str


class Charge(Handler[OrderCreated], channel="payments"):
    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        ctx.log.info("charged", order=event.order_id, by=handlers.TEAM, harness=Harness)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of a team's own, outside the clone, with a package that is called handlers as well."""
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "__init__.py").write_text('TEAM = "payments"\n')
    (tmp_path / "shop.py").write_text(RIGHT)
    return tmp_path


def python(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this environment's Python in the project, as from a shell without ``PYTHONPATH``."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MYPY"))}
    command = (sys.executable, *arguments)
    return subprocess.run(command, cwd=project, env=known, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_mypy_sees_nsqkit_from_a_project_outside_the_clone(project: Path) -> None:
    done = python(project, "-m", "mypy", "--strict", "--cache-dir", str(project / "cache"), "shop.py")
    assert done.stdout == "Success: no issues found in 1 source file\n", done.stdout + done.stderr


def test_a_teams_own_package_is_not_hidden(project: Path) -> None:
    done = python(project, "-c", "import shop; print(shop.handlers.TEAM)")
    assert done.stdout == "payments\n", done.stderr


@pytest.mark.parametrize("name", ["handlers", "tests", "bench", "examples", "stubs"])
def test_nothing_else_of_the_clone_can_be_imported(name: str, tmp_path: Path) -> None:
    done = python(tmp_path, "-c", f"import importlib.util; print(importlib.util.find_spec({name!r}))")
    assert done.stdout == "None\n", done.stderr


def test_new_modules_are_seen_without_installing_again(tmp_path: Path) -> None:
    script = "import pathlib, nsqkit; print(pathlib.Path(nsqkit.__file__).resolve())"
    assert python(tmp_path, "-c", script).stdout.strip() == str(ROOT / "nsqkit" / "__init__.py")
