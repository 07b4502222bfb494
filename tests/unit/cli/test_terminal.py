"""Terminal: no name, body or error of any command reaches the terminal with characters that control it."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nsqkit.cli import terminal
from nsqkit.dead_letters.collect import CollectionReport
from nsqkit.dead_letters.store import FOLDER, Store
from nsqkit.errors import ConnectionLostError
from nsqkit.nsq.message import Message
from nsqkit.ops.pause import ChannelReport
from tests.unit.dead_letters.letters import letter
from tests.unit.nsq.fake_link import FakeLink

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit

# What click does not strip: a window's title, a sequence in one byte, overwriting, reversed text.
HOSTILE = "a\x1b]0;owned\x07\x9b31m\r\x08\u202eb"


def controls(text: str) -> list[str]:
    """Return the characters in a text that a terminal may obey."""
    return [each for each in text if not each.isprintable() and each not in "\n\t"]


def _channels(*_: Any) -> ChannelReport:
    return ChannelReport((HOSTILE,), (), (f"nsqd {HOSTILE}: gone",))


def _no_channels(*_: Any) -> ChannelReport:
    return ChannelReport((), (HOSTILE,), ())


def _worker(*_: Any) -> dict[str, Any]:
    return {"state": HOSTILE, "held": HOSTILE}


def _collected(*_: Any, **__: Any) -> CollectionReport:
    return CollectionReport(1, 0, frozenset({f"{HOSTILE}.dead"}))


def _fail(*_: Any, **__: Any) -> None:
    raise LookupError(HOSTILE)


def _lost(*_: Any, **__: Any) -> None:
    raise ConnectionLostError("a:4150", HOSTILE)


def _tail(_topic: str, _settings: Any, show: Callable[[Message], bool], **_: Any) -> None:
    event = {"specversion": "1.0", "type": HOSTILE, "id": HOSTILE, "data": {HOSTILE: HOSTILE}}
    for body in (json.dumps(event).encode(), HOSTILE.encode(), b"\xff" + HOSTILE.encode()):
        show(Message(b"%016d" % 1, body, 1, 1, 0.0, FakeLink("a:1", "orders")))


@pytest.fixture
def store(tmp_path: Path) -> None:
    known = dict.fromkeys(
        ("reason", "detail", "error_type", "stack", "handler", "event_type", "event_id", "traceparent"),
        HOSTILE,
    )
    known |= dict.fromkeys(("message_id", "published_at", "nsqkit_version", "dead_topic", "nsqd"), HOSTILE)
    with Store(tmp_path / FOLDER / "dead-letters.sqlite", make=True) as store:
        store.add([letter(1, topic=HOSTILE, channel=HOSTILE, body=json.dumps(HOSTILE).encode(), **known)])
        store.add([letter(2, body=HOSTILE.encode(), **known)])


COMMANDS = [
    ((HOSTILE,), None),
    (("publish", HOSTILE, "{}"), None),
    (("publish", "orders", HOSTILE), None),
    (("publish", "orders", "--file", HOSTILE), None),
    (("check", HOSTILE), None),
    (("handlers", f"os:{HOSTILE}"), None),
    (("run", HOSTILE, "--dev"), None),
    (("run", "x", "--dev", "--feed", HOSTILE), None),
    (("new", f"{HOSTILE}.py", "--topic", "t", "--channel", "c"), None),
    (("new", "x.py", "--topic", HOSTILE, "--channel", "c"), None),
    (("config", "--app", f"x={HOSTILE}"), None),
    (("config", "--app", f"x={HOSTILE}", "--json"), None),
    (("config", "--set", f"nsqd={HOSTILE}"), None),
    (("config", "--set", f"{HOSTILE}=1"), None),
    (("config", "--config", HOSTILE), None),
    (("broker", "--data-path", HOSTILE), None),
    (("pause", "orders", "stock"), ("nsqkit.ops.pause.send_to_nsqd", _channels)),
    (("resume", "orders", "stock"), ("nsqkit.ops.pause.send_to_nsqd", _no_channels)),
    (("pause", "--handler", HOSTILE), ("nsqkit.ops.pause.send_to_worker", _worker)),
    (("pause", "orders", "stock"), ("nsqkit.ops.pause.send_to_nsqd", _lost)),
    (("pause", "orders", "stock", "--debug"), ("nsqkit.ops.pause.send_to_nsqd", _fail)),
    (("tail", "orders"), ("nsqkit.ops.tail.tail", _tail)),
    (("tail", "orders", "--raw"), ("nsqkit.ops.tail.tail", _tail)),
    (("tail", "orders", "--json"), ("nsqkit.ops.tail.tail", _tail)),
    (("tail", "orders", "--where", HOSTILE), None),
    (("dead", "collect"), ("nsqkit.dead_letters.collect.collect", _collected)),
    (("dead", "collect", HOSTILE), None),
    (("dead", "ls"), None),
    (("dead", "ls", "--json"), None),
    (("dead", "ls", "--by", "error"), None),
    (("dead", "ls", "--where", HOSTILE), None),
    (("dead", "ls", "--store", HOSTILE), None),
    (("dead", "show", "1"), None),
    (("dead", "show", "2"), None),
    (("dead", "replay", "1", "2", "--dry-run"), None),
    (("dead", "replay", "1"), ("nsqkit.dead_letters.replay.replay", _fail)),
    (("dead", "empty", "--where", f"handler={HOSTILE}", "--yes"), None),
]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("arguments", "fake"), COMMANDS, ids=range(len(COMMANDS)))
def test_no_command_lets_a_text_control_the_terminal(
    nsqkit: "Nsqkit",
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    fake: tuple[str, Any] | None,
) -> None:
    if fake is not None:
        monkeypatch.setattr(*fake)
    result = nsqkit(*arguments)
    assert result.out + result.err
    assert controls(result.out) == []
    assert controls(result.err) == []


@pytest.fixture
def warns(tmp_path: Path, handlers: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of handlers that warns when it is imported, as a filter of the user lets it."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with (tmp_path / f"{handlers}.py").open("a", encoding="utf-8") as code:
        code.write(f"import warnings\nwarnings.warn({f'{HOSTILE} password=hunter2'!r})\n")
    return handlers


@pytest.mark.parametrize("command", ["check", "handlers"])
def test_a_warning_of_a_module_is_visible_and_its_secrets_are_masked(
    nsqkit: "Nsqkit", warns: str, command: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = nsqkit(command, warns)
    assert "UserWarning: a\\x1b]0;owned" in result.err
    assert controls(result.err) == []
    assert "hunter2" not in result.err


def test_a_warning_that_cannot_be_printed_fails_nothing(
    nsqkit: "Nsqkit", warns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(text: str, **_: object) -> None:
        if "UserWarning" in text:
            raise BrokenPipeError

    monkeypatch.setattr(terminal, "echo", fail)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert nsqkit("check", warns).code == 0


@pytest.mark.usefixtures("store")
def test_a_terminal_shows_raw_bytes_as_escapes_and_a_pipe_gets_them(
    nsqkit: "Nsqkit", monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nsqkit("dead", "show", "2", "--raw").out == HOSTILE
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert controls(nsqkit("dead", "show", "2", "--raw").out) == []


def test_styles_are_added_after_a_text_was_made_visible(capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal.style("a\nb\x1b[2J", fg="cyan") == "\x1b[36ma\\nb\\x1b[2J\x1b[0m"
    terminal.echo_styled("a", "b")
    assert capsys.readouterr().out == "a b\n"


def test_secrets_in_errors_and_stacks_are_masked(nsqkit: "Nsqkit", monkeypatch: pytest.MonkeyPatch) -> None:
    text = "password='hunter two'"

    def fail(*_: Any) -> None:
        raise LookupError(text)

    monkeypatch.setattr("nsqkit.ops.pause.send_to_nsqd", fail)
    err = nsqkit("pause", "orders", "stock", "--debug").err
    assert err.count("LookupError: password=[redacted]") == 2
    assert "raise LookupError(text)" in err
    assert "hunter" not in err
