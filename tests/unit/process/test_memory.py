"""Memory: the resident memory of a process, as the kernel tells it."""

import os
import subprocess
import sys

import pytest

from nsqkit import SettingsError
from nsqkit.process import memory
from nsqkit.process.memory import check_memory_is_known, resident_bytes


def test_it_is_at_least_what_the_process_has_written() -> None:
    before = resident_bytes(os.getpid())
    written = bytearray(b"x" * 50_000_000)
    assert resident_bytes(os.getpid()) - before > 40_000_000
    assert written


def test_a_process_that_has_ended_has_none() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert resident_bytes(ended.pid) == 0


def test_a_limit_without_proc_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_memory_is_known(100)
    monkeypatch.setattr(memory, "_STATM", "/no/such/{}")
    check_memory_is_known(0)
    with pytest.raises(SettingsError, match="max_worker_memory_mb needs /proc"):
        check_memory_is_known(100)
