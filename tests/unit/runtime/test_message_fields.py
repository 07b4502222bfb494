"""Message fields: how a line names its message, and the request that caused it."""

import json
from typing import Any

import pytest

from nsqkit.policy.peer_text import LONGEST_CHARACTERS
from nsqkit.runtime.message_fields import log_fields
from tests.unit.runtime.bench import FakeMessage, ending

ENVELOPE = {"specversion": "1.0", "type": "bench.happened.v1", "source": "s", "id": "e-1"}


def fields(body: bytes, event_id: str | None = None, event_type: str = "") -> dict[str, Any]:
    message: Any = FakeMessage(body)
    return log_fields(ending(None).spec, message, attempts=2, event_id=event_id, event_type=event_type)


def test_a_bare_body_has_no_ids_but_nsqds() -> None:
    assert fields(b'{"n": 1}') == {
        "message_id": "0123456789abcdef",
        "topic": "consumed",
        "channel": "work",
        "handler": "Scripted",
        "attempts": 2,
    }


@pytest.mark.parametrize(
    ("attributes", "request_id"),
    [
        pytest.param({}, "e-1", id="the event began the request"),
        pytest.param({"correlationid": "e-0"}, "e-0", id="another event began it"),
        pytest.param(
            {"correlationid": "e-0", "requestid": "r-1"}, "r-1", id="a request from outside began it"
        ),
        pytest.param({"requestid": ""}, "e-1", id="an empty id is none"),
        pytest.param({"requestid": 7}, "e-1", id="a number is none"),
        pytest.param({"data": {"requestid": "r-2"}}, "e-1", id="the data is not looked at"),
    ],
)
def test_a_request_keeps_its_id_from_message_to_message(attributes: dict[str, Any], request_id: str) -> None:
    body = json.dumps({**ENVELOPE, **attributes}).encode()
    assert fields(body, "e-1", "bench.happened.v1")["request_id"] == request_id


def test_the_ids_come_first_and_the_action_is_the_type_of_the_event() -> None:
    found = fields(json.dumps(ENVELOPE).encode(), "e-1", "bench.happened.v1")
    assert list(found)[:3] == ["request_id", "event_id", "message_id"]
    assert found["action"] == "bench.happened.v1"


def test_a_body_that_is_no_envelope_loses_no_line() -> None:
    assert "request_id" not in fields(b'{"requestid": ')


def test_what_a_producer_sent_is_short_and_visible() -> None:
    found = fields(json.dumps({**ENVELOPE, "requestid": "\x1b" + "x" * 1000}).encode())
    assert found["request_id"].startswith("\\x1bx")
    assert len(found["request_id"]) == LONGEST_CHARACTERS
