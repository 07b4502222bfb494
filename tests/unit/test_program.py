"""Program: the setting names the event loop; a first signal asks for a drain, a second one ends it."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from nsqkit.errors import SettingsError
from nsqkit.program import SIGNALS, run, stop_event
from tests.waiting import PATIENCE_S

STUCK = """
import asyncio, threading
from nsqkit.program import end_at_once, stop_event

async def main():
    stop = stop_event()
    threading.Thread(target=threading.Event().wait).start()
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    {then}

asyncio.run(main())
"""


async def kind() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


@pytest.mark.parametrize(
    ("event_loop", "expected"),
    [
        pytest.param("asyncio", "asyncio", id="asyncio's own"),
        pytest.param("uvloop", "uvloop", id="uvloop"),
        pytest.param("auto", "uvloop", id="uvloop where it is installed"),
    ],
)
def test_the_setting_names_the_loop(event_loop: str, expected: str) -> None:
    pytest.importorskip("uvloop", reason="uvloop is not for this system")
    assert run(kind(), event_loop) == expected


@pytest.fixture
def without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)  # an import of it then fails


@pytest.mark.usefixtures("without_uvloop")
def test_without_uvloop_it_is_asyncios_own() -> None:
    assert run(kind(), "auto") == "asyncio"


@pytest.mark.usefixtures("without_uvloop")
def test_asking_for_what_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(SettingsError, match=r"pip install 'nsqkit\[speed\]'"):
        run(kind(), "uvloop")


def stuck(then: str) -> "subprocess.Popen[str]":
    """Start a program with a thread that never ends."""
    return subprocess.Popen(
        [sys.executable, "-c", STUCK.format(then=then)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_sets_the_event(number: signal.Signals) -> None:
    stop = stop_event()
    assert not stop.is_set()
    os.kill(os.getpid(), number)
    async with asyncio.timeout(PATIENCE_S):
        await stop.wait()
    for each in SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(each)


def test_a_second_signal_ends_the_process_with_1_though_a_thread_is_stuck() -> None:
    with stuck("await asyncio.Event().wait()") as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGTERM)
        assert program.stdout.readline() == "stopping\n"
        program.send_signal(signal.SIGINT)
        _, told = program.communicate(timeout=PATIENCE_S)
        assert program.returncode == 1
        assert told.startswith("second signal: ending at once")


def test_a_process_can_end_with_its_code_though_a_thread_is_stuck() -> None:
    with stuck("end_at_once(3)") as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGTERM)
        said, _ = program.communicate(timeout=PATIENCE_S)
        assert (program.returncode, said) == (3, "stopping\n")
