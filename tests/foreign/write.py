"""Writes the bodies in python.jsonl, as programs in Python send them: python write.py > python.jsonl."""

import base64
import gzip
import json
import pickle
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

AT = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
ORDER: dict[str, Any] = {"orderId": "o-1", "totalCents": 700, "placedAt": AT.isoformat()}
EVENT = {"specversion": "1.0", "type": "com.example.Order", "source": "/python", "id": "p-1"}


def put(name: str, reader: str, body: bytes) -> None:
    """Print one body."""
    line = {"name": name, "reader": reader, "base64": base64.b64encode(body).decode()}
    sys.stdout.write(f"{json.dumps(line)}\n")


def dumped(value: object, **options: Any) -> bytes:
    """Return a value as JSON."""
    return json.dumps(value, default=str, **options).encode()


put("json.dumps", "camel", dumped(ORDER))
put("default=str", "camel", dumped({**ORDER, "placedAt": AT}))
put("no ASCII", "camel", dumped({**ORDER, "note": "Zoë"}, ensure_ascii=False))
put("NaN", "camel", dumped({**ORDER, "totalCents": float("nan")}))
put("infinity in an event", "event", dumped({**EVENT, "data": {**ORDER, "totalCents": float("inf")}}))
put("a time without a zone", "camel", dumped({**ORDER, "placedAt": AT.replace(tzinfo=None).isoformat()}))
put("a timestamp", "lax", dumped({**ORDER, "placedAt": AT.timestamp()}))
put("a timedelta as text", "camel", dumped({**ORDER, "placedAt": timedelta(1)}))
put("the repr of a dict", "camel", repr(ORDER).encode())
put("json.dumps twice", "camel", dumped(json.dumps(ORDER)))
put("a list", "camel", dumped([ORDER]))
put("pickle", "camel", pickle.dumps(ORDER, protocol=4))
put("gzip", "gzip", gzip.compress(dumped(ORDER), mtime=0))
put(
    "MessagePack",
    "msgpack",
    b"\x83\xa7orderId\xa3o-1\xaatotalCents\xcd\x02\xbc\xa8placedAt\xb92024-05-01T12:30:00+00:00",
)
put("MessagePack cut off", "msgpack", b"\x83\xa7orderId\xa3o")
put("CloudEvent", "event", dumped({**EVENT, "data": ORDER}))
put("CloudEvent with base64 of no JSON", "event", dumped({**EVENT, "data_base64": "AP8="}))
put("CloudEvent with no base64", "event", dumped({**EVENT, "data_base64": "%%"}))
put("UTF-8 with a BOM", "camel", dumped(ORDER).decode().encode("utf-8-sig"))
put("UTF-16", "camel", b"\xfe\xff" + dumped(ORDER).decode().encode("utf-16-be"))
