"""`nsqkit publish`: one message or a file, what is refused, and the bar on a terminal."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nsqkit.ops.feed import FeedReport

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []

    def publish_one(topic: str, body: bytes, settings: Any, **options: Any) -> None:
        found.append((topic, body, settings, options))

    def publish_file(topic: str, path: Path, settings: Any, **options: Any) -> FeedReport:
        on_progress = options.pop("on_progress")
        on_progress(5, 10)
        on_progress(10, 10)
        found.append((topic, path, settings, options))
        return FeedReport(7, ((3, "not JSON"),) if path.name == "bad" else ())

    monkeypatch.setattr("nsqkit.ops.publish.publish_one", publish_one)
    monkeypatch.setattr("nsqkit.ops.publish.publish_file", publish_file)
    return found


def test_one_message(nsqkit: "Nsqkit", calls: list[tuple[Any, ...]]) -> None:
    result = nsqkit("publish", "orders", '{"a": "é"}', "--defer", "1.5", "--nsqd", "a:1")
    assert (result.code, result.out) == (0, "published 1 message to orders\n")
    ((topic, body, settings, options),) = calls
    assert (topic, body, settings.nsqd, options) == (
        "orders",
        '{"a": "é"}'.encode(),
        ("a:1",),
        {"defer_s": 1.5},
    )


def test_a_file(nsqkit: "Nsqkit", calls: list[tuple[Any, ...]]) -> None:
    result = nsqkit(
        *("publish", "orders", "--file", "good", "--rate", "50", "--for", "m", "--for", "n", "--nsqd", "a:1")
    )
    assert (result.code, result.out) == (0, "published 7 messages to orders, refused 0\n")
    ((topic, path, _, options),) = calls
    assert (topic, path) == ("orders", Path("good"))
    assert options == {"rate": 50.0, "defer_s": 0.0, "channels_for": ["m", "n"]}


def test_a_refused_line_fails_the_command(nsqkit: "Nsqkit", calls: list[tuple[Any, ...]]) -> None:
    result = nsqkit("publish", "orders", "--file", "bad", "--nsqd", "a:1")
    assert (result.code, result.out) == (1, "published 7 messages to orders, refused 1\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param([], "give either", id="nothing"),
        pytest.param(["{}", "--file", "good"], "give either", id="both"),
        pytest.param(["{a}"], "is it quoted", id="what the shell left of JSON"),
        pytest.param(["{}", "--rate", "5"], "go with --file", id="a rate of one message"),
        pytest.param(["--file", "good", "--rate", "0"], "above 0", id="a rate of nothing"),
        pytest.param(["--file", "good", "--rate", "nan"], "above 0", id="a rate of no number"),
        pytest.param(["{}", "--defer", "-1"], "0..900 s", id="into the past"),
        pytest.param(["{}", "--defer", "901"], "max_requeue_delay_s", id="too far ahead"),
    ],
)
def test_wrong_use(nsqkit: "Nsqkit", calls: list[tuple[Any, ...]], arguments: list[str], words: str) -> None:
    result = nsqkit("publish", "orders", *arguments, "--nsqd", "a:1")
    assert (result.code, result.out) == (2, "")
    assert words in result.err
    assert calls == []


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_on_a_terminal_and_gone_at_the_end(
    nsqkit: "Nsqkit", calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert nsqkit("publish", "orders", "--file", "good", "--nsqd", "a:1").code == 0
    assert "10/10 bytes" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")  # the line is erased
