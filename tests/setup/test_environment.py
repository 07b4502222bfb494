"""scripts/environment: a failed update leaves the environment in use as it was; a whole one replaces it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUP = """\
[metadata]
name = tiny
version = 1

[options]
package_dir =
    = src
packages = find:

[options.packages.find]
where = src
"""

pytestmark = pytest.mark.slow


def locked(name: str) -> str:
    """Return a package's part of the real lock."""
    lines = (ROOT / "requirements" / "dev.txt").read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith(f"{name}=="))
    last = next(n for n in range(first + 1, len(lines)) if not lines[n].startswith("    --hash"))
    return "\n".join(lines[first:last]).removesuffix("\\") + "\n"


class Checkout:
    """A tiny project that has this project's scripts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("scripts", "requirements", "src/tiny"):
            (folder / name).mkdir(parents=True)
        for name in ("scripts/environment", "scripts/python", "requirements/build.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, folder / name)
        (folder / "src" / "tiny" / "__init__.py").touch()
        (folder / "setup.cfg").write_text(SETUP)

    def lock(self, *parts: str, file: str = "requirements/run.txt") -> None:
        (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / file).write_text("".join(parts))

    def update(self, lock: str = "run") -> "subprocess.CompletedProcess[str]":
        known = os.environ | {"NSQKIT_PYTHON": sys.executable}
        command = ("scripts/environment", lock)
        return subprocess.run(
            command, cwd=self.folder, env=known, capture_output=True, text=True, check=False
        )

    def imports(self, *names: str) -> bool:
        python = self.folder / ".venv" / "bin" / "python"
        command = (python, "-c", f"import {', '.join(names)}")
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    @property
    def environments(self) -> list[str]:
        return sorted(path.name for path in (self.folder / ".venvs").iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("checkout"))


def test_an_update_is_whole_or_does_not_happen(checkout: Checkout) -> None:
    checkout.lock(locked("iniconfig"))
    done = checkout.update()
    assert done.returncode == 0, done.stderr
    assert "creating .venv with Python" in done.stderr
    assert checkout.imports("tiny", "iniconfig")
    (first,) = checkout.environments

    assert checkout.update().stderr == "", "nothing to do is nothing to print"
    assert checkout.environments == [first]

    checkout.lock(locked("iniconfig"), locked("pluggy").replace("sha256:", "sha256:0000"))
    failed = checkout.update()
    assert failed.returncode == 1
    assert "could not install requirements/run.txt" in failed.stderr
    assert checkout.environments == [first], "what was begun is gone"
    assert checkout.imports("tiny", "iniconfig")

    checkout.lock(locked("pytest"))
    lacking = checkout.update()
    assert lacking.returncode == 1
    assert "requires iniconfig, which is not installed" in lacking.stderr
    assert checkout.imports("tiny", "iniconfig")

    checkout.lock(locked("iniconfig"), locked("pluggy"))
    assert checkout.update().returncode == 0
    assert checkout.imports("tiny", "iniconfig", "pluggy")
    assert len(checkout.environments) == 1


def test_a_larger_environment_serves_the_smaller_one(checkout: Checkout) -> None:
    checkout.lock(locked("iniconfig"))
    checkout.lock(locked("iniconfig"), locked("pluggy"), file="examples/orders/requirements/run.txt")
    assert checkout.update("orders").returncode == 0
    assert checkout.imports("tiny", "iniconfig", "pluggy")
    assert checkout.update("run").stderr == "", "orders has all of run"
