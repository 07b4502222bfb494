"""Message fields: the log fields that identify a message. They are built only when a line is written."""

from collections.abc import Iterable
from typing import Any, Final

from nsqkit.events.codec.envelope import read_envelope
from nsqkit.handler.recorder import Recorder
from nsqkit.handler.spec import HandlerSpec
from nsqkit.policy.peer_text import peer_text
from nsqkit.runtime.ports import Message

_CALLERS_IDS: Final = ("requestid", "correlationid")
_MARKS: Final = tuple(b'"%s"' % name.encode() for name in _CALLERS_IDS)


def log_fields(
    spec: HandlerSpec,
    message: Message,
    *,
    attempts: int,
    event_id: str | None,
    event_type: str,
    recorders: Iterable[Recorder] = (),
) -> dict[str, Any]:
    """Return the fields of a message, those first that follow it through services.

    Args:
        spec: Declaration of the handler.
        message: The received message.
        attempts: Its deliveries so far; 1 or more.
        event_id: ``id`` of its envelope; None without one.
        event_type: Wire type of its event; empty if unknown.
        recorders: Add fields of their own, such as the id of a trace.
    """
    known = peer_text(event_id or "")
    fields = {
        "request_id": peer_text(_request_id(message.body)) or known,
        "event_id": known,
        "message_id": message.id.decode("ascii", "replace"),
        "topic": spec.topic,
        "channel": spec.channel,
        "handler": spec.name,
        "action": peer_text(event_type),
        "attempts": attempts,
    }
    for each in recorders:
        fields |= each.log_fields
    return {name: value for name, value in fields.items() if value}


def _request_id(body: bytes) -> str:
    """Return the caller's id in an envelope; empty if it has none."""
    if not any(mark in body for mark in _MARKS):  # parsing a body costs more than the rest of a line
        return ""
    envelope = read_envelope(body)
    ids = [envelope.extensions.get(name) for name in _CALLERS_IDS] if envelope else []
    return next((each for each in ids if isinstance(each, str) and each), "")
