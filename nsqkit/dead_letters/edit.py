"""Edit: lets a person change the body of a dead letter in a text editor. It publishes nothing."""

import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from nsqkit.errors import SettingsError
from nsqkit.events.body import Body
from nsqkit.loading.readers import Draft

_INDENT: Final = 2
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def edited(body: bytes, draft: Draft | None = None) -> bytes | None:
    """Let a person change a body in ``$VISUAL`` or ``$EDITOR``.

    JSON on one line is shown with a line for each value. An unchanged body is returned byte by byte as it
    was. A changed one is returned as it was saved, without the newline that editors add after the last line.

    Args:
        body: The body.
        draft: The body as it is to be edited, if it is not JSON or text by itself.

    Returns:
        The body; None if the person saved an empty file.

    Raises:
        SettingsError: If no editor is set, it cannot be started, or it exits with an error.
        EncodeError: If a changed draft is no event any more.
    """
    if draft is not None:
        text = edited(draft.text)
        return body if text == draft.text else text and draft.packed(text)
    is_json = Body.read(body).kind == "json"
    offered = laid_out(body.decode()).encode() if is_json and b"\n" not in body else body
    saved = _through_editor(offered, ".json" if is_json else ".txt")
    if not offered.endswith(b"\n"):
        saved = saved.removesuffix(b"\n")
    if saved == offered:
        return body
    return saved if saved.strip() else None


def laid_out(text: str) -> str:
    """Return JSON with a line for each value; the values themselves are not rewritten.

    Args:
        text: Valid JSON.
    """
    parts: list[str] = []
    depth = 0
    before = ""
    for part in _TOKEN.findall(text):
        closes = part in {"}", "]"}
        depth -= closes
        opened = before in {"{", "["}
        if (opened and not closes) or before == "," or (closes and not opened):
            parts.append("\n" + " " * (_INDENT * depth))
        parts.append(": " if part == ":" else part)
        depth += part in {"{", "["}
        before = part
    return "".join(parts)


def _through_editor(text: bytes, suffix: str) -> bytes:
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not command:
        raise SettingsError("--edit needs an editor: set EDITOR, such as EDITOR=nano")
    with tempfile.TemporaryDirectory(prefix="nsqkit-") as folder:
        path = Path(folder, f"dead-letter{suffix}")
        path.write_bytes(text)
        try:
            code = subprocess.run([*shlex.split(command), str(path)], check=False).returncode  # noqa: S603 - the user's own
        except (OSError, ValueError) as error:
            raise SettingsError(f"EDITOR={command!r} cannot be started: {error}; set another one") from None
        if code:
            raise SettingsError(f"EDITOR={command!r} ended with {code}: nothing was published")
        return path.read_bytes() if path.exists() else b""
