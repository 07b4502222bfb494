"""Outcome text: the outcome of a delivery in a few words, such as ``requeue in 0.2s, try 1/6``."""

from collections.abc import Mapping
from typing import Any, Final

_WHOLE_FROM_S: Final = 10.0
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0
_PLAIN_REASONS: Final = frozenset({"", "error"})
_AT_ANY_TRY: Final = frozenset({"undecodable", "expired", "requested", "rule"})


def outcome_text(fields: Mapping[str, Any]) -> str:
    """Return the outcome that the fields of a log line state.

    Args:
        fields: ``outcome``, and if they apply ``reason``, ``delay_s``, ``attempts``, ``max_attempts``; of a
            line for several deliveries ``count`` and ``for_s`` instead of the delay and the attempts.
    """
    text = str(fields["outcome"]).replace("_", " ")
    if "count" in fields:
        return f"{text}{_reason(fields)}, {fields['count']} more in {duration_text(fields['for_s'])}"
    if fields.get("delay_s"):
        text += f" in {duration_text(fields['delay_s'])}"
    return f"{text}{_reason(fields)}{_tries(fields)}"


def duration_text(seconds: float) -> str:
    """Return a duration in its usual unit: ``0.2s``, ``45s``, ``15min`` or ``2.5h``."""
    if seconds < _WHOLE_FROM_S:
        return f"{round(seconds, 1):g}s"
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f}s"
    return f"{seconds / _MINUTE_S:.0f}min" if seconds < 2 * _HOUR_S else f"{seconds / _HOUR_S:.1f}h"


def _reason(fields: Mapping[str, Any]) -> str:
    reason = str(fields.get("reason") or "")
    return "" if reason in _PLAIN_REASONS else f" ({reason})"


def _tries(fields: Mapping[str, Any]) -> str:
    is_final = fields["outcome"] == "dead_letter" and fields.get("reason") in _AT_ANY_TRY
    if "attempts" not in fields or is_final:
        return ""
    most = f"/{fields['max_attempts']}" if "max_attempts" in fields else ""
    return f", try {fields['attempts']}{most}"
