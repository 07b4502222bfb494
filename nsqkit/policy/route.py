"""Route: why a route of a bridge pauses, and why NSQ cannot take a record. It decides nothing."""

from enum import StrEnum


class PauseReason(StrEnum):
    """Why a route reads nothing."""

    OPERATOR = "operator"
    DEPTH = "depth"
    BLOCKED = "blocked"


class RefusalReason(StrEnum):
    """Why NSQ cannot take a record."""

    TOMBSTONE = "tombstone"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
