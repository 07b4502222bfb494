"""Where the secret comes from, and where it must not show."""

from pathlib import Path

import pytest

from nsqkit.errors import SettingsError
from nsqkit.nsq.auth import secret_of
from nsqkit.nsq.options import connection_options
from nsqkit.settings.settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("hush\n")
    return path


def test_it_is_read_from_the_file_without_its_line_end(file: Path) -> None:
    assert secret_of(Settings(auth_secret_file=str(file))) == "hush"


def test_it_is_read_from_the_environment() -> None:
    assert secret_of(Settings.load(env={"NSQKIT_AUTH_SECRET": "hush"})) == "hush"


def test_there_may_be_none() -> None:
    assert secret_of(Settings()) is None


def test_two_are_one_too_many(file: Path) -> None:
    with pytest.raises(SettingsError, match="both"):
        secret_of(Settings(auth_secret="other", auth_secret_file=str(file)))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b" \n", "is empty", id="empty"),
        pytest.param(b"\xff\xfe", "UTF-8", id="no text"),
    ],
)
def test_a_file_without_a_secret_is_an_error_that_names_it(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"auth_secret_file: {path}.*{problem}"):
        secret_of(Settings(auth_secret_file=str(path)))


def test_it_is_shown_neither_by_the_settings_nor_by_the_options(file: Path) -> None:
    settings = Settings(auth_secret_file=str(file))
    shown = f"{settings!r} {settings.rows()} {connection_options(settings)!r}"
    assert str(file) in shown
    assert "hush" not in shown
