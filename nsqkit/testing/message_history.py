"""The history of one message as lines of text."""

from dataclasses import dataclass, field
from typing import Any

_LONGEST = 200


@dataclass(slots=True, eq=False)
class MessageHistory:
    """One message, with a line for each thing that happened to it.

    ``is_shown`` is False for a dead letter until a handler reads it.
    """

    topic: str
    body: bytes
    event: Any = None
    message_id: str = ""
    is_shown: bool = True
    lines: list[tuple[float, str]] = field(default_factory=list)

    def text(self) -> str:
        """Return the title and the lines."""
        what = repr(self.event) if self.event is not None else self.body.decode("utf-8", "backslashreplace")
        shown = what if len(what) <= _LONGEST else f"{what[:_LONGEST]}…"
        title = " ".join(part for part in (self.topic, self.message_id, shown) if part)
        return "\n".join([title, *(f"  {at_s:10.3f} s  {line}" for at_s, line in self.lines)])
