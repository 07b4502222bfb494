"""Console: the fields of a log line as one short line for a person on call. It hides the ids of messages.

JSON lines, and console lines at level ``debug``, have all fields.
"""

import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from nsqkit.policy.visible import visible
from nsqkit.telemetry.log_fields import readable
from nsqkit.telemetry.outcome_text import outcome_text

WIDTH: Final = 120
"""Columns that a line about an outcome fits into, as long as names are of ordinary length."""

_OUTCOMES: Final = frozenset({"message_settled", "message_kept", "outcomes_repeated"})
_OF_MESSAGE: Final = frozenset(
    {"request_id", "event_id", "message_id", "topic", "channel", "action", "attempts", "max_attempts"}
)
_MULTILINE: Final = ("stack", "exception")
_ID_DIGITS: Final = 8
_LEAST_ERROR: Final = 16
_COLORS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
_DIM, _BOLD = "2", "1"


class _Part(NamedTuple):
    text: str
    color: str = ""

    def colored(self) -> str:
        return f"\x1b[{self.color}m{self.text}\x1b[0m" if self.color and self.text.strip() else self.text


def console_line(fields: Mapping[str, Any], *, colors: bool) -> str:
    """Return a line: time, level, handler, what happened, and the last digits of the message's id.

    Args:
        fields: The fields; ``level`` and ``event`` are among them.
        colors: Whether a terminal shows the line in colours.
    """
    shown = {visible(str(name)): _visible(value) for name, value in fields.items()}
    level = shown.get("level", "")
    parts = [_Part(f"{shown.get('timestamp', '')} {level:<8}")]
    if colors:
        parts = [_Part(f"{shown.get('timestamp', '')} ", _DIM), _Part(f"{level:<8}", _COLORS.get(level, ""))]
    if handler := shown.get("handler"):
        parts.append(_Part(f" {handler:<14}", _BOLD))
    if shown.get("event") == "message_kept":
        shown.setdefault("outcome", "kept")
    is_outcome = shown.get("event") in _OUTCOMES and "outcome" in shown
    tail = _outcome(shown, parts) if is_outcome else _event(shown)
    line = "".join(part.colored() if colors else part.text for part in [*parts, *tail]).rstrip()
    return "\n".join([line, *(visible(readable(fields[name])) for name in _MULTILINE if name in fields)])


def _outcome(shown: Mapping[str, Any], before: list[_Part]) -> list[_Part]:
    """Return outcome, error, place and id, the error cut to what is left of the width."""
    ends = "".join(f"  {end}" for end in (_place(shown.get("at", "")), _short_id(shown)) if end)
    outcome = f" {outcome_text(shown)}"
    room = WIDTH - sum(len(part.text) for part in before) - len(outcome) - len(ends) - 2
    error = _cut(_error(shown), max(room, _LEAST_ERROR))
    return [
        _Part(outcome, _COLORS.get(shown.get("level", ""), "")),
        _Part(f"  {error}" if error else ""),
        _Part(ends, _DIM),
    ]


def _event(shown: Mapping[str, Any]) -> list[_Part]:
    """Return what a line says, with its fields, but those that identify its message."""
    hidden = {"timestamp", "level", "event", "handler", *_MULTILINE}
    if "message_id" in shown:
        hidden |= _OF_MESSAGE
    parts = [_Part(f" {shown.get('event', '')}", _BOLD)]
    if "message_id" in shown and shown.get("attempts", 1) != 1:
        parts.append(_Part(f", try {shown['attempts']}"))
    own = "".join(f" {name}={_quoted(value)}" for name, value in shown.items() if name not in hidden)
    return [*parts, _Part(f" {own}" if own else ""), _Part(f"  {_short_id(shown)}", _DIM)]


def _error(shown: Mapping[str, Any]) -> str:
    """Return type and text of an error, without a topic and a type of event that nobody has to read."""
    kind, detail = shown.get("error_type") or "", str(shown.get("detail") or "")
    detail = detail.removeprefix(f"topic {shown.get('topic')}: ").removeprefix(f"{shown.get('action')} at ")
    if not kind or detail.startswith(kind):
        return detail
    return f"{kind}: {detail}" if detail else str(kind)


def _place(at: str) -> str:
    return os.path.basename(at)  # noqa: PTH119 - half of the cost of a Path


def _short_id(shown: Mapping[str, Any]) -> str:
    return str(shown.get("message_id", ""))[-_ID_DIGITS:]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _quoted(value: Any) -> str:
    if not isinstance(value, str):
        return readable(value)
    return repr(value) if set(value) & {" ", "=", "\t", '"', "'"} or not value else value


def _visible(value: Any) -> Any:
    """Escape characters that would move the terminal's cursor or change its colours."""
    return visible(value, keep="") if isinstance(value, str) else value
