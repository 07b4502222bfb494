"""Systemd: one datagram for each state, if systemd asks; a failure is a line in the log and no more."""

import socket
from pathlib import Path

import pytest
import structlog

from nsqkit.process.systemd import READY, notify


def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with structlog.testing.capture_logs() as log:
        notify(READY)
    assert log == []


@pytest.mark.parametrize("prefix", ["", "@"], ids=["a socket in a folder", "an abstract socket"])
def test_a_state_is_one_datagram(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"{tmp_path}/notify"
    monkeypatch.setenv("NOTIFY_SOCKET", prefix + address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{address}" if prefix else address)
        notify(READY)
        assert systemd.recv(100) == b"READY=1"


def test_a_systemd_that_cannot_be_reached_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/missing")
    with structlog.testing.capture_logs() as log:
        notify(READY)
    assert [(line["event"], line["log_level"]) for line in log] == [("systemd_unreachable", "warning")]
