"""Dead letters for the tests: as a worker publishes them, and as a store has them."""

import json
from dataclasses import asdict, replace
from typing import Any

from nsqkit.dead_letters.parse import CollectedLetter, parse_letter
from nsqkit.nsq.message import Message
from nsqkit.runtime.dead_letter import RECORD_TYPE, DeadLetterRecord, split_body
from tests.unit.nsq.fake_link import FakeLink

BODY = b'{"order_id": "o-1", "total_cents": 1.10}'
TIMESTAMP_NS = 1_767_225_600_123_456_789
RECORD = DeadLetterRecord(
    body=BODY.decode(),
    body_base64=None,
    reason="exhausted",
    detail="GatewayError: no answer",
    error_type="GatewayError",
    stack='Traceback:\n  File "shop.py", line 7\nGatewayError: no answer',
    attempts=6,
    message_id="00000000000000aa",
    published_at="2026-01-01T00:00:00.000000Z",
    dead_at="2026-01-01T00:05:00.000000Z",
    topic="orders",
    channel="payments",
    handler="ChargePayment",
    event_type="order.created.v1",
    event_id="e-1",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    nsqkit_version="0.1.0",
)


def published(raw: bytes = BODY, **known: Any) -> bytes:
    """Return a record as a worker publishes it."""
    text, encoded = split_body(raw)
    record = replace(RECORD, **{"body": text, "body_base64": encoded, **known})
    return json.dumps({"type": RECORD_TYPE, **asdict(record)}).encode()


def message(
    body: bytes, topic: str = "orders.payments.dead", number: int = 1, nsqd: str = "a:4150"
) -> Message:
    link = FakeLink(nsqd, topic)
    return Message(b"%016x" % number, body, TIMESTAMP_NS, 1, 0.0, link)


def letter(number: int = 1, **changes: Any) -> CollectedLetter:
    """Return a dead letter; another number is another one."""
    return replace(parse_letter(message(published(), number=number)), **changes)
