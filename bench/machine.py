"""Machine, Python and versions of a run, without host name or paths."""

import os
import platform
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

from bench.programs import INSTALLED, ROOT

_IN_PROCESS = ("nsqkit", "pynsq", "tornado", "msgspec", "orjson", "uvloop")
_BESIDE = ("gnsq", "gevent", "ansq", "asyncnsq")
_GO_NSQ = re.compile(r"github\.com/nsqio/go-nsq v(?P<version>\S+)")
_CPU = re.compile(r"^model name\s*: (?P<name>.+)$", re.MULTILINE)


def machine() -> dict[str, object]:
    """Return CPU, cores, memory and system of this machine, and how its Python was built."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "architecture": platform.machine(),
        "has_pgo": has_pgo(sysconfig.get_config_vars()),
    }


def has_pgo(config: Mapping[str, Any]) -> bool | None:
    """Return whether a Python was built with profile-guided optimization (PGO); None if that is unknown.

    Debian builds with PGO, without the option of ``configure``, and removes the flags afterwards.

    Args:
        config: Variables of its build, as in ``sysconfig.get_config_vars()``.
    """
    if "--enable-optimizations" in (config.get("CONFIG_ARGS") or ""):
        return True
    return False if config.get("PGO_PROF_USE_FLAG") else None


def versions(nsqd: str) -> dict[str, str]:
    """Return the versions of nsqd, Python and all measured packages.

    Args:
        nsqd: Version of the running nsqd.
    """
    return {"Python": platform.python_version(), "nsqd": nsqd, **dict(_packages()), **dict(_others())}


def _cpu() -> str:
    try:
        found = _CPU.search(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found["name"].strip() if found else platform.processor()


def _packages() -> Iterator[tuple[str, str]]:
    for name in _IN_PROCESS:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
    folders = map(str, (INSTALLED / "python").glob("lib/python*/site-packages"))
    beside = {found.name: found.version for found in distributions(path=list(folders))}
    yield from ((name, beside[name]) for name in _BESIDE if name in beside)


def _others() -> Iterator[tuple[str, str]]:
    if found := _said("go", "env", "GOVERSION"):
        yield "Go", found.removeprefix("go")
        pinned = _GO_NSQ.search((ROOT / "tests" / "clients" / "go" / "go.mod").read_text(encoding="utf-8"))
        if pinned:
            yield "go-nsq", pinned["version"]
    if found := _said("node", "--version"):
        yield "Node.js", found.removeprefix("v")
        package = INSTALLED / "node" / "node_modules" / "nsqjs" / "package.json"
        if package.exists() and (pinned := re.search(r'"version": *"([^"]+)"', package.read_text("utf-8"))):
            yield "nsqjs", pinned[1]


def _said(program: str, *arguments: str) -> str:
    path = shutil.which(program)
    if path is None:
        return ""
    done = subprocess.run([path, *arguments], check=False, capture_output=True, text=True, timeout=30)  # noqa: S603
    return done.stdout.strip()
