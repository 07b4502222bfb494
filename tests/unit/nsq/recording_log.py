"""A log that keeps its lines."""


class RecordingLog:
    """Keeps every line as (level, event, fields)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def info(self, event: str, /, **fields: object) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, /, **fields: object) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, /, **fields: object) -> None:
        self.lines.append(("error", event, fields))

    def of(self, event: str) -> list[dict[str, object]]:
        """Return the fields of every line of an event."""
        return [fields for _, each, fields in self.lines if each == event]
