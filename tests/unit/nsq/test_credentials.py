"""Secrets and certificates that change while a worker runs."""

import os
from pathlib import Path
from typing import Any

import pytest

from nsqkit.errors import SettingsError
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.options import connection_options
from nsqkit.settings.settings import Settings
from tests.certificates import Authority
from tests.unit.nsq.recording_log import RecordingLog


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "secret"
    made.write_text("old\n")
    return made


def secret(options: ConnectionOptions) -> str | None:
    return options.refresh(options).auth_secret


def test_a_changed_secret_is_used_for_the_next_connection(file: Path) -> None:
    options = connection_options(Settings(auth_secret_file=str(file)))
    assert secret(options) == "old"
    file.write_text("rotated\n")
    assert secret(options) == "rotated"


def test_a_secret_behind_a_symbolic_link_that_is_replaced(tmp_path: Path) -> None:
    """Kubernetes replaces the folder of a mounted secret in this way."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "secret"
    link.symlink_to("one")
    options = connection_options(Settings(auth_secret_file=str(link)))
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(link)
    assert secret(options) == "two"


def test_a_file_that_cannot_be_used_leaves_the_earlier_secret_and_is_logged_once(file: Path) -> None:
    log = RecordingLog()
    options = connection_options(Settings(auth_secret_file=str(file)), log=log)
    file.unlink()
    assert [secret(options), secret(options)] == ["old", "old"]
    (line,) = log.of("credentials_unusable")
    assert "auth_secret_file" in str(line["error"])
    file.write_text("new")
    assert secret(options) == "new"


def test_without_a_log_such_a_file_is_passed_over(file: Path) -> None:
    options = connection_options(Settings(auth_secret_file=str(file)))
    file.write_text("")
    assert secret(options) == "old"


def test_at_the_start_it_is_an_error(file: Path) -> None:
    file.write_text("")
    with pytest.raises(SettingsError):
        connection_options(Settings(auth_secret_file=str(file)))


def test_certificates_are_loaded_again_only_when_their_files_change(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.certificate("worker.example")
    files: Any = {"tls_cert_file": str(own.certificate), "tls_key_file": str(own.key)}
    options = connection_options(Settings(tls=True, tls_ca_file=str(authority.file), **files))
    assert options.refresh(options) == options
    os.utime(own.certificate, ns=(0, 0))
    fresh = options.refresh(options)
    assert fresh.tls is not None
    assert options.tls is not None
    assert fresh.tls.context is not options.tls.context


def test_options_without_files_stay_as_they_are() -> None:
    options = connection_options(Settings(auth_secret="hush"))
    assert options.refresh(options) is options
