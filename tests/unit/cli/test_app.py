"""The command tree: what errors look like, which codes they end with, and what --help imports."""

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nsqkit.cli import main
from nsqkit.errors import (
    ConnectionLostError,
    EventError,
    FeedError,
    HandlerError,
    LoadError,
    PublishError,
    SettingsError,
)

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit

COMMANDS = ("run", "check", "handlers", "publish", "pause", "resume", "broker", "config", "version")


def test_help_names_every_command(nsqkit: "Nsqkit") -> None:
    result = nsqkit("--help")
    assert result.code == 0
    assert all(f"\n  {command} " in result.out for command in COMMANDS)
    assert max(map(len, result.out.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(nsqkit: "Nsqkit", command: str) -> None:
    result = nsqkit(command, "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: nsqkit {command}")


def test_without_a_command_the_help_is_shown_and_the_use_is_wrong(nsqkit: "Nsqkit") -> None:
    result = nsqkit()
    assert result.code == 2
    assert "Usage: nsqkit" in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["rnu"], "Did you mean 'run'?", id="a misspelt command"),
        pytest.param(["run", "m", "--fed", "x"], "--feed", id="a misspelt option"),
        pytest.param(["tail"], "Missing argument 'TOPIC'", id="a missing argument"),
        pytest.param(["run", "m", "--admin-port", "x"], "'--admin-port'", id="not a number"),
        pytest.param(["broker", "--tcp-port", "70000"], "'--tcp-port'", id="a number out of range"),
        pytest.param(["version", "now"], "unexpected extra argument", id="an argument too many"),
    ],
)
def test_wrong_use_is_one_line_and_a_hint(nsqkit: "Nsqkit", arguments: list[str], words: str) -> None:
    result = nsqkit(*arguments)
    assert (result.code, result.out) == (2, "")
    error, hint = result.err.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert hint == "see: nsqkit --help, or nsqkit COMMAND --help"


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        pytest.param(SettingsError("threads=0"), 2, ["error: threads=0"], id="a setting"),
        pytest.param(
            LoadError(("a.py:1: x", "b.py:2: y")), 2, ["error: a.py:1: x", "error: b.py:2: y"], id="modules"
        ),
        pytest.param(HandlerError(("a.py:1: x",)), 2, ["error: a.py:1: x"], id="a handler"),
        pytest.param(EventError("not an event"), 2, ["error: not an event"], id="an event"),
        pytest.param(FeedError("no such file"), 2, ["error: no such file"], id="a feed"),
        pytest.param(
            PublishError("t", "a:1", "too big", True),
            2,
            ["error: topic t: not published to nsqd a:1: too big"],
            id="a message that can never be sent",
        ),
        pytest.param(
            PublishError("t", "a:1", "gone", False),
            1,
            ["error: topic t: not published to nsqd a:1: gone"],
            id="a message that was not confirmed",
        ),
        pytest.param(ConnectionLostError("a:1", "gone"), 1, ["error: nsqd a:1: gone"], id="a connection"),
        pytest.param(
            RuntimeError("boom"),
            1,
            ["error: RuntimeError: boom (--debug shows where)"],
            id="a mistake in a resource",
        ),
        pytest.param(KeyboardInterrupt(), 130, [], id="Ctrl-C"),
    ],
)
def test_an_error_is_a_line_and_an_exit_code(
    nsqkit: "Nsqkit", monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, lines: list[str]
) -> None:
    def load(*_: object) -> None:
        raise error

    monkeypatch.setattr("nsqkit.loading.loader.load", load)
    result = nsqkit("check", "m")
    assert (result.code, result.out) == (code, "")
    assert result.err.splitlines() == lines


def test_debug_shows_the_traceback_before_the_line(nsqkit: "Nsqkit") -> None:
    result = nsqkit("check", "no_such_module", "--debug")
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("error: ")


def test_the_reader_of_the_output_may_leave() -> None:
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    assert reader.stdin is not None
    writer = subprocess.run(
        [sys.executable, "-c", "import sys; from nsqkit.cli import main; sys.exit(main(['config']))"],
        stdout=reader.stdin,
        stderr=subprocess.PIPE,
        check=False,
    )
    reader.stdin.close()
    assert (writer.returncode, writer.stderr) == (1, b"")


def test_help_imports_nothing_that_only_a_command_needs() -> None:
    heavy = (
        "nsq",
        "tornado",
        "pydantic",
        "structlog",
        "rich",
        "msgspec",
        "orjson",
        "prometheus_client",
        "asyncio",
    )
    program = (
        "import sys; from nsqkit.cli import main; main(['--help']); "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stdout
    assert output.splitlines()[-1] == "[]"


def test_the_processs_own_arguments_are_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["nsqkit", "version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("nsqkit ")
