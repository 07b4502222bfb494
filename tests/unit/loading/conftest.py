"""A team's folder to load handlers from."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.loading.team import Team


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = {*sys.modules}
    yield Team(tmp_path)
    for name in {*sys.modules} - before:
        del sys.modules[name]
