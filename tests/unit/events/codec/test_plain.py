"""Plain: an event of any kind as JSON has it."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import any_pb2, struct_pb2, timestamp_pb2, wrappers_pb2

from nsqkit.events.codec.plain import plain


@dataclasses.dataclass
class Order:
    order_id: str
    at: datetime


STRUCT = struct_pb2.Struct()
STRUCT.update({"name": "tea", "prices": [1.5]})


@pytest.mark.parametrize(
    ("event", "value"),
    [
        pytest.param(
            Order("o-1", datetime(2024, 5, 1, tzinfo=UTC)),
            {"order_id": "o-1", "at": "2024-05-01T00:00:00+00:00"},
            id="a dataclass",
        ),
        pytest.param(timestamp_pb2.Timestamp(seconds=7), {"seconds": 7}, id="a message of protobuf"),
        pytest.param(any_pb2.Any(value=b"\xff"), {"value": "/w=="}, id="bytes"),
        pytest.param(
            STRUCT,
            {
                "fields": {
                    "name": {"string_value": "tea"},
                    "prices": {"list_value": {"values": [{"number_value": 1.5}]}},
                }
            },
            id="a mapping and a list",
        ),
        pytest.param(wrappers_pb2.StringValue(), {}, id="a message without a field that is set"),
    ],
)
def test_an_event_has_the_values_that_json_has(event: Any, value: Any) -> None:
    assert plain(event) == value
