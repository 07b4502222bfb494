"""Log: the logger interface of nsqkit.nsq; a structlog logger implements it."""

from typing import Protocol


class Log(Protocol):
    """Logs lines that consist of an event name and fields."""

    def info(self, event: str, /, **fields: object) -> object:
        """Log a normal event."""

    def warning(self, event: str, /, **fields: object) -> object:
        """Log a failure that recovers or is retried."""

    def error(self, event: str, /, **fields: object) -> object:
        """Log a failure that needs a person."""
