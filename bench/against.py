"""Another commit of this project as one more client: its package runs with the programs of this checkout."""

import argparse
import compileall
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.programs import ROOT, Program, environment

PROGRAM = "bench.clients.consume_nsqkit"


@dataclass(frozen=True)
class Checkout:
    """The package ``nsqkit`` of a commit.

    Args:
        commit: Short hash of the commit.
        folder: Folder that contains the package and nothing else.
    """

    commit: str
    folder: Path

    def of(self, program: Program) -> Program:
        """Return a program of this checkout that runs with the commit's package."""
        return replace(program, name=f"nsqkit at {self.commit}", folder=self.folder)


def commit(text: str) -> str:
    """Return the short hash of a commit that a user named.

    Raises:
        argparse.ArgumentTypeError: If there is no such commit.
    """
    asked = ("rev-parse", "--verify", "--quiet", "--short", "--end-of-options", f"{text}^{{commit}}")
    done = _git(*asked)
    if done.returncode:
        raise argparse.ArgumentTypeError(f"{text!r} is no commit of this repository")
    return done.stdout.decode().strip()


@contextmanager
def checked_out(commit: str) -> Iterator[Checkout]:
    """Put the package of a commit into a folder, and remove it afterwards.

    Args:
        commit: Hash of the commit.
    """
    archive = _git("archive", "--format=tar", commit, "nsqkit")
    if archive.returncode:
        sys.exit(f"bench: {commit} has no package nsqkit")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        compileall.compile_dir(folder, quiet=2)  # so that no measured start compiles it
        _check(commit, Path(folder))
        yield Checkout(commit, Path(folder))


def _check(commit: str, folder: Path) -> None:
    """Exit if this checkout's program does not run with the commit's package."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", f"import {PROGRAM}, nsqkit; print(nsqkit.__file__)"],
        cwd=folder,
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1]
        sys.exit(f"bench: {PROGRAM} does not run with nsqkit at {commit}: {why}")
    if not Path(done.stdout.strip()).is_relative_to(folder):
        sys.exit(f"bench: nsqkit at {commit} is not imported from its folder")


def _git(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True)  # noqa: S603, S607
