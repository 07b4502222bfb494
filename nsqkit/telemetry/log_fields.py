"""Log fields: the fields of a log line without secrets, of bounded length and readable. It writes nothing."""

from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, Final

import orjson

from nsqkit.policy.redaction import MASK, is_secret_name, redact, redact_json

LONGEST: Final = 10_000
"""Most characters of a field."""

_SHORT: Final = 64
_IDS: Final = frozenset(
    {"message_id", "event_id", "request_id", "traceparent", "trace_id", "span_id", "timestamp", "level"}
)
_STACKS: Final = frozenset({"stack", "exception"})


def redacted(fields: MutableMapping[str, Any]) -> dict[str, Any]:
    """Return fields without what looks like a secret, whether nsqkit or a handler has given them."""
    return {name: _redacted(name, value) for name, value in fields.items()}


def readable(value: object) -> str:
    """Return a value as text that UTF-8 can spell, also if its ``repr()`` raises."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception as error:  # noqa: BLE001 - a __repr__ may raise anything
        return f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode()


@lru_cache(maxsize=512)  # names of fields are in the code, so there are few
def _is_secret(name: str) -> bool:
    return is_secret_name(name)


def _redacted(name: str, value: object) -> object:
    if value is None or name == "exc_info":
        return value
    if _is_secret(name):
        return MASK
    if isinstance(value, str):
        return _text(name, value)
    return value if isinstance(value, bool | int | float) else _structure(value)


def _text(name: str, text: str) -> str:
    if name in _IDS:
        return text[:LONGEST]
    if name in _STACKS:  # the end of a stack says what was raised
        return redact(text[-2 * LONGEST :], limit=2 * LONGEST)[-LONGEST:]
    return _short(text) if len(text) <= _SHORT else redact(text[: 2 * LONGEST], limit=LONGEST)


@lru_cache(maxsize=1024)  # topics, reasons, places in the code: most fields repeat
def _short(text: str) -> str:
    return redact(text)


def _structure(value: object) -> object:
    try:
        return redact_json(
            orjson.loads(orjson.dumps(value, default=readable, option=orjson.OPT_NON_STR_KEYS))
        )
    except Exception:  # noqa: BLE001 - too deep, a number too long for JSON, half a surrogate pair, …
        return redact(readable(value)[: 2 * LONGEST], limit=LONGEST)
