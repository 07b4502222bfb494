"""Where a secret comes from, and where it must not show."""

from pathlib import Path
from typing import Literal

import pytest

from nsqkit.errors import SettingsError
from nsqkit.nsq.options import connection_options
from nsqkit.settings.secret import secret_of
from nsqkit.settings.settings import Settings

Name = Literal["auth_secret", "admin_token"]
each_secret = pytest.mark.parametrize("name", ["auth_secret", "admin_token"])


def with_file(name: Name, file: Path, **others: str) -> Settings:
    return Settings(**{f"{name}_file": str(file), **others})  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("hush\n")
    return path


@each_secret
def test_it_is_read_from_the_file_without_its_line_end(file: Path, name: Name) -> None:
    assert secret_of(with_file(name, file), name) == "hush"


@each_secret
def test_it_is_read_from_the_environment(name: Name) -> None:
    assert secret_of(Settings.load(env={f"NSQKIT_{name.upper()}": "hush"}), name) == "hush"


@each_secret
def test_there_may_be_none(name: Name) -> None:
    assert secret_of(Settings(), name) is None


@each_secret
def test_two_are_one_too_many(file: Path, name: Name) -> None:
    with pytest.raises(SettingsError, match=f"{name} and {name}_file are both set"):
        secret_of(with_file(name, file, **{name: "other"}), name)


@each_secret
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b" \n", "is empty", id="empty"),
        pytest.param(b"\xff\xfe", "UTF-8", id="no text"),
    ],
)
def test_a_file_without_a_secret_is_an_error_that_names_it(
    tmp_path: Path, name: Name, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"{name}_file: {path}.*{problem}"):
        secret_of(with_file(name, path), name)


def test_it_is_shown_neither_by_the_settings_nor_by_the_options(file: Path) -> None:
    settings = Settings(auth_secret_file=str(file), admin_token="secrecy")
    shown = f"{settings!r} {settings.rows()} {connection_options(settings)!r}"
    assert str(file) in shown
    assert "hush" not in shown
    assert "secrecy" not in shown


def test_a_flag_cannot_give_it() -> None:
    with pytest.raises(SettingsError, match="admin_token is a secret"):
        Settings.load({"admin_token": "hush"}, env={})
