"""Edit: what is not changed stays byte by byte, what is changed goes out as it was saved."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nsqkit import SettingsError
from nsqkit.dead_letters.edit import edited, laid_out

BODY = b'{"id":"o-1","cents":1.10,"lines":[{"n":1},{"n":2}],"none":[],"empty":{}}'
OFFERED = """\
{
  "id": "o-1",
  "cents": 1.10,
  "lines": [
    {
      "n": 1
    },
    {
      "n": 2
    }
  ],
  "none": [],
  "empty": {}
}"""

Editor = Callable[[str], Path]


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Editor:
    """An editor that runs some Python on ``path``; what it was given is in the file that is returned."""

    def use(code: str) -> Path:
        seen = tmp_path / "seen"
        start = (
            "import pathlib, sys; path = pathlib.Path(sys.argv[1]); "
            f"pathlib.Path({str(seen)!r}).write_bytes(path.read_bytes()); "
        )
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", shlex.join([sys.executable, "-c", start + code]))
        return seen

    return use


def test_json_is_offered_line_by_line_and_unchanged_it_is_the_same_bytes(editor: Editor) -> None:
    seen = editor("pass")
    assert edited(BODY) == BODY
    assert seen.read_text() == OFFERED


def test_a_line_end_that_the_editor_adds_is_no_change(editor: Editor) -> None:
    editor("path.write_bytes(path.read_bytes() + b'\\n')")
    assert edited(BODY) == BODY


def test_a_change_goes_out_as_it_was_saved(editor: Editor) -> None:
    editor("path.write_text(path.read_text().replace('o-1', 'o-2') + '\\n')")
    assert edited(BODY) == OFFERED.replace("o-1", "o-2").encode()


def test_what_is_saved_is_not_judged(editor: Editor) -> None:
    editor("path.write_bytes(b'{half \\xff')")
    assert edited(BODY) == b"{half \xff"


@pytest.mark.parametrize("code", ["path.write_text('')", "path.write_text(' \\n')", "path.unlink()"])
def test_an_empty_file_stops_it(editor: Editor, code: str) -> None:
    editor(code)
    assert edited(BODY) is None


@pytest.mark.parametrize("body", [b"no JSON", b"\x00\xff", b'{\n"id": 1}\n', b"text\n"])
def test_anything_else_is_offered_as_it_is(editor: Editor, body: bytes) -> None:
    seen = editor("pass")
    assert edited(body) == body
    assert seen.read_bytes() == body


def test_visual_comes_before_editor(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    editor("path.write_text('edited')")
    monkeypatch.setenv("VISUAL", shlex.join([sys.executable, "-c", "pass"]))
    assert edited(BODY) == BODY


@pytest.mark.parametrize(
    ("command", "said"),
    [
        pytest.param("", "set EDITOR", id="none is set"),
        pytest.param("no-such-editor -w", "cannot be started: .*set another one", id="there is none"),
        pytest.param('vi "', "cannot be started: No closing quotation", id="it cannot be read"),
        pytest.param(
            shlex.join([sys.executable, "-c", "raise SystemExit(3)"]),
            "ended with 3: nothing was published",
            id="it fails",
        ),
    ],
)
def test_an_editor_that_does_not_work_is_told(
    monkeypatch: pytest.MonkeyPatch, command: str, said: str
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", command)
    with pytest.raises(SettingsError, match=said):
        edited(BODY)


@pytest.mark.parametrize(
    "text", ['"a \\"b\\", {[c]}: d"', "7", "[]", "[[],{}]", '{"a":"{\\\\"}', '[1e400,-0.50,"ü\\u00fc"]']
)
def test_laid_out_nothing_but_space_is_different(text: str) -> None:
    shown = laid_out(text)
    assert "".join(line.strip() for line in shown.splitlines()).replace('": ', '":') == text
    assert json.loads(shown) == json.loads(text)
