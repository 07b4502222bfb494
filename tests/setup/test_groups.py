"""tests.groups: no test is left out, a failure is not hidden, and the last line adds up."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import groups

ROOT = Path(__file__).parents[2]
PASSED = "tests/a.py ..\n======= 2 passed, 1 skipped, 1 warning in 0.12s =======\n"


@pytest.mark.parametrize(
    ("outputs", "seconds", "expected"),
    [
        pytest.param([PASSED], 1.5, "2 passed, 1 skipped, 1 warning in 1.50s", id="one group"),
        pytest.param([PASSED, PASSED], 0.5, "4 passed, 2 skipped, 2 warnings in 0.50s", id="two groups"),
        pytest.param(
            [PASSED, "== 1 failed, 7 passed, 2 errors in 3723.50s (1:02:03) =="],
            3723.5,
            "1 failed, 9 passed, 1 skipped, 1 warning, 2 errors in 3723.50s (1:02:03)",
            id="failures come first, and long times have hours",
        ),
        pytest.param(
            [PASSED, "tests/b.py ..\nFatal Python error: Aborted\n"],
            2.0,
            "2 passed, 1 skipped, 1 warning, 1 error in 2.00s",
            id="a process that died is an error",
        ),
        pytest.param(
            ["E  === 9 passed in 1.00s ===\n===== 1 failed in 1.00s =====\n"],
            2.0,
            "1 failed in 2.00s",
            id="what a test printed does not count",
        ),
        pytest.param(
            ["..\n2 passed in 1.00s\n", PASSED], 3.0, "4 passed, 1 skipped, 1 warning in 3.00s", id="-q"
        ),
        pytest.param(["=== no tests ran in 0.01s ==="], 1.0, "no tests ran in 1.00s", id="no test"),
    ],
)
def test_the_closing_line_adds_up(outputs: list[str], seconds: float, expected: str) -> None:
    line = groups.closing_line(outputs, seconds)
    assert line.strip("=") == f" {expected} "


def test_pytests_own_closing_line_is_read(tmp_path: Path) -> None:
    (tmp_path / "test_all_ends.py").write_text(
        "import pytest\n"
        "def test_passes(): pass\n"
        "def test_fails(): assert False\n"
        "def test_skips(): pytest.skip()\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError\n"
        "def test_has_an_error(broken): pass\n"
        "@pytest.mark.xfail\n"
        "def test_fails_as_expected(): assert False\n"
    )
    command = (sys.executable, "-m", "pytest", "--color=no", "-p", "no:cacheprovider", ".")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert groups.counts(done.stdout) == {"passed": 1, "failed": 1, "skipped": 1, "error": 1, "xfailed": 1}


def test_every_test_is_in_one_group() -> None:
    chosen = groups.selections({"one": ("tests/unit",), "two": ("tests/chaos", "tests/unit/process")})
    assert chosen == {
        "one": ("tests/unit", "--ignore=tests/unit/process"),
        "two": ("tests/chaos", "tests/unit/process"),
        "rest": ("tests", "--ignore=tests/unit", "--ignore=tests/chaos", "--ignore=tests/unit/process"),
    }


def test_the_paths_of_the_groups_exist() -> None:
    paths = [path for paths in groups.GROUPS.values() for path in paths]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert len(set(paths)) == len(paths)


class TestMain:
    @pytest.fixture
    def ended(self, monkeypatch: pytest.MonkeyPatch) -> list[groups.Ended]:
        """The groups, in the order in which they end."""
        ended = [groups.Ended("one", True, PASSED)]
        monkeypatch.setattr(groups, "_ended", lambda _folder: ended)
        return ended

    def test_all_passed(
        self, ended: list[groups.Ended], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert groups.main(tmp_path) == 0
        assert "--- tests: group one passed" in capsys.readouterr().out
        assert "2 passed" in (tmp_path / "closing_line").read_text()

    def test_a_failed_group_is_shown_last_and_fails_the_run(
        self, ended: list[groups.Ended], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ended.insert(0, groups.Ended("two", False, "FAILED tests/b.py::test_b\n== 1 failed in 1.00s =="))
        assert groups.main(tmp_path) == 1
        out = capsys.readouterr().out
        assert out.index("group one passed") < out.index("group two FAILED") < out.index("test_b")
        assert "1 failed, 2 passed" in (tmp_path / "closing_line").read_text()
