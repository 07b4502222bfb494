"""Options that several commands share: from the command line to settings."""

from pathlib import Path

import pytest

from nsqkit.cli.options import pair, settings
from nsqkit.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a=b", ("a", "b"), id="plain"),
        pytest.param("a=b=c", ("a", "b=c"), id="the first = splits"),
        pytest.param("a=", ("a", ""), id="an empty value"),
        pytest.param(" a = b", ("a", " b"), id="blanks belong to the value"),
    ],
)
def test_pair(text: str, expected: tuple[str, str]) -> None:
    assert pair("--set", text) == expected


@pytest.mark.parametrize("text", ["a", "=b", " =b", ""])
def test_pair_refuses(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--feed .*: give it as TOPIC=FILE"):
        pair("--feed", text, "TOPIC=FILE")


def test_a_flag_beats_set_which_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "n.toml"
    file.write_text(
        "[nsqkit]\nthreads = 2\nadmin_port = 1\ngrace_s = 3\n[app]\nratio = 1\n", encoding="utf-8"
    )
    found = settings(
        set_=["threads=4", "admin_port=5"], app=["ratio=0.5"], config=file, admin_port=6, nsqd=[]
    )
    assert (found.threads, found.admin_port, found.grace_s) == (4, 6, 3.0)
    assert found.app_number("ratio", 0) == 0.5
    assert found.source_of("nsqd") == "default"


def test_a_flag_of_zero_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings(admin_port=0).admin_port == 0
