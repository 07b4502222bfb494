"""What the tests of the operator commands share."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "feed.jsonl"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for between two tries."""
    monkeypatch.setattr("nsqkit.ops.keep_trying.RETRY_FIRST_S", 0.0)
