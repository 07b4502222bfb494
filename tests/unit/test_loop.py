"""Loop: a program runs on the event loop that the setting names."""

import asyncio
import sys

import pytest

from nsqkit.loop import run
from nsqkit.policy.errors import SettingsError


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
