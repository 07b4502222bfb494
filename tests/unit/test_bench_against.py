"""Another commit as one more client of the benchmark: found, put into a folder, or refused."""

import argparse
import os
import subprocess
from pathlib import Path

import pytest

from bench import against
from bench.programs import NSQKIT


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit with a package that this checkout's programs cannot use."""
    for name in [each for each in os.environ if each.startswith("GIT_")]:
        monkeypatch.delenv(name)  # a hook of git would have this repository's
    (tmp_path / "nsqkit").mkdir()
    (tmp_path / "nsqkit" / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    monkeypatch.setattr(against, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", ["nope", "", "--output=x", "HEAD:nsqkit"])
@pytest.mark.usefixtures("repository")
def test_what_is_no_commit_is_one_clear_error(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no commit"):
        against.commit(text)


@pytest.mark.usefixtures("repository")
def test_a_commit_that_does_not_fit_is_one_clear_error() -> None:
    fits = against.checked_out(against.commit("HEAD"))
    with pytest.raises(SystemExit, match=r"does not run with nsqkit at .*ImportError"), fits:
        pass


def test_a_commit_without_the_package_is_one_clear_error(repository: Path) -> None:
    (repository / "nsqkit" / "__init__.py").unlink()
    git(repository, "commit", "-q", "-a", "-m", "second")
    with pytest.raises(SystemExit, match="has no package"), against.checked_out("HEAD"):
        pass


def test_another_commit_is_used_from_its_folder_which_is_removed(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(against, "PROGRAM", "json")
    with against.checked_out(against.commit("HEAD")) as other:
        theirs = other.of(NSQKIT)
        assert theirs.name == f"nsqkit at {other.commit}"
        assert (theirs.folder / "nsqkit" / "__init__.py").exists()
        assert theirs.folder != repository
    assert not theirs.folder.exists()
