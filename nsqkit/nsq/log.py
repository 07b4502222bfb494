"""Log: what nsqkit.nsq writes log lines through; a structlog logger is one."""

from typing import Protocol


class Log(Protocol):
    """Takes each line as an event's name and its fields."""

    def info(self, event: str, /, **fields: object) -> object:
        """Log what is as it should be."""

    def warning(self, event: str, /, **fields: object) -> object:
        """Log what recovers by itself, or is tried again."""

    def error(self, event: str, /, **fields: object) -> object:
        """Log what needs a person."""
