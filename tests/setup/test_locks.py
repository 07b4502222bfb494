"""The locks decide every version: pip, old or new, installs what they name and nothing else."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
PIPS = ("oldest", "newest")
LOCKS = ("run", "dev")
FILES = {"orders": ROOT / "examples" / "orders" / "requirements" / "run.txt"}

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Locked:
    """One package as pip would install it.

    Args:
        version: Its version.
        extras: Those that the lock names.
        requires: What it requires by itself and by those extras, on this machine.
    """

    version: str
    extras: frozenset[str]
    requires: tuple[Requirement, ...]


Plan = Mapping[NormalizedName, Locked]


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, str], Plan]:
    """What each pip would install from each lock into an empty environment."""
    folder = tmp_path_factory.mktemp("pips")
    pairs = [*((pip, lock) for pip in PIPS for lock in LOCKS), ("newest", "orders")]
    programs = {pip: pip_program(pip, folder / pip) for pip in PIPS}
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = pool.map(lambda pair: plan(programs[pair[0]], pair[1], folder), pairs)
        return dict(zip(pairs, found, strict=True))


def file_of(lock: str) -> Path:
    return FILES.get(lock, REQUIREMENTS / f"{lock}.txt")


def pip_program(pip: str, folder: Path) -> Path:
    """Return a pip of the locked version, which runs from its wheel."""
    command = (sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--dest", folder)
    run(*command, "-r", REQUIREMENTS / f"pip-{pip}.txt")
    (wheel,) = folder.iterdir()
    return wheel / "pip"


def plan(pip: Path, lock: str, folder: Path) -> Plan:
    """Return what a pip would install from a lock, with the options of ``scripts/environment``."""
    report = folder / f"{pip.parent.name}-{lock}.json"
    options = ("--no-deps", "--no-build-isolation", "--require-hashes", "-r", file_of(lock))
    run(sys.executable, pip, "install", "--dry-run", "--ignore-installed", "--report", report, *options)
    found = json.loads(report.read_text())
    return {
        canonicalize_name(each["metadata"]["name"]): locked(each, found["environment"])
        for each in found["install"]
    }


def locked(item: Mapping[str, Any], environment: Mapping[str, str]) -> Locked:
    extras = frozenset(item.get("requested_extras", ()))
    required = [Requirement(each) for each in item["metadata"].get("requires_dist", ())]
    applies = [
        each
        for each in required
        if each.marker is None
        or any(each.marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))
    ]
    return Locked(item["metadata"]["version"], extras, tuple(applies))


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def lines_of(lock: str) -> Iterator[Requirement]:
    """Yield what a lock names for this machine."""
    for line in file_of(lock).read_text().splitlines():
        if line[:1].isalnum():
            requirement = Requirement(line.removesuffix("\\"))
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement


@pytest.mark.parametrize(("smaller", "larger"), [("run", "orders"), ("orders", "dev")])
def test_a_larger_lock_has_all_of_a_smaller_one_in_the_same_versions(smaller: str, larger: str) -> None:
    """So ``scripts/environment`` need not replace the larger one."""
    pins = {each.name: each.specifier for each in lines_of(larger)}
    assert {each.name: each.specifier for each in lines_of(smaller)}.items() <= pins.items()


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("pip", PIPS)
def test_pip_would_install_what_the_lock_names_and_nothing_else(
    pip: str, lock: str, plans: Mapping[tuple[str, str], Plan]
) -> None:
    named = {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in lines_of(lock)}
    assert {name: each.version for name, each in plans[pip, lock].items()} == named


@pytest.mark.parametrize("lock", [*LOCKS, "orders"])
def test_the_lock_has_a_line_for_all_that_its_packages_require(
    lock: str, plans: Mapping[tuple[str, str], Plan]
) -> None:
    found = plans["newest", lock]
    assert [
        f"{name} requires {requirement}"
        for name, package in found.items()
        for requirement in package.requires
        if not is_met(requirement, found)
    ] == []


def is_met(requirement: Requirement, plan: Plan) -> bool:
    package = plan.get(canonicalize_name(requirement.name))
    return (
        package is not None
        and requirement.extras <= package.extras
        and requirement.specifier.contains(package.version, prereleases=True)
    )
