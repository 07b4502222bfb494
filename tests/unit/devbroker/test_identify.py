import json
from typing import Any

import pytest

from nsqkit.devbroker.identify import anonymous, identify, identify_reply
from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.wire import ProtocolError

LIMITS = Limits()


def said(**wish: Any) -> bytes:
    return json.dumps(wish).encode()


def reply(**wish: Any) -> dict[str, Any]:
    identity = identify(said(feature_negotiation=True, **wish), LIMITS)
    answer: dict[str, Any] = json.loads(identify_reply(identity, LIMITS))
    return answer


def test_a_client_that_negotiates_gets_all_of_nsqds_keys_with_its_defaults() -> None:
    answer = reply()
    assert answer.pop("version").startswith("1.3.0")
    assert answer == {
        "max_rdy_count": 2500,
        "max_msg_timeout": 900_000,
        "msg_timeout": 60_000,
        "tls_v1": False,
        "deflate": False,
        "deflate_level": 6,
        "max_deflate_level": 6,
        "snappy": False,
        "sample_rate": 0,
        "auth_required": False,
        "output_buffer_size": 16_384,
        "output_buffer_timeout": 250,
    }


@pytest.mark.parametrize("body", [b"{}", b"null", b'{"feature_negotiation": false}', b'{"unknown": 1}'])
def test_a_client_that_does_not_gets_ok(body: bytes) -> None:
    assert identify_reply(identify(body, LIMITS), LIMITS) == b"OK"


def test_encryption_and_compression_are_answered_as_off() -> None:
    assert reply(tls_v1=True, snappy=True) == reply()
    assert reply(deflate=True, deflate_level=3) == reply()


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        pytest.param({"msg_timeout": 1000}, {"msg_timeout": 1000}, id="shortest timeout"),
        pytest.param({"msg_timeout": 900_000}, {"msg_timeout": 900_000}, id="longest timeout"),
        pytest.param({"msg_timeout": 0}, {"msg_timeout": 60_000}, id="no timeout asked for"),
        pytest.param({"msg_timeout": None}, {"msg_timeout": 60_000}, id="null stands for nothing"),
        pytest.param({"output_buffer_size": 64}, {"output_buffer_size": 64}, id="smallest buffer"),
        pytest.param({"output_buffer_timeout": 25}, {"output_buffer_timeout": 25}, id="shortest buffering"),
        pytest.param({"sample_rate": 99}, {"sample_rate": 99}, id="a sample"),
        pytest.param({"output_buffer_timeout": -1}, {"output_buffer_timeout": 0}, id="no buffer timer"),
        pytest.param(
            {"output_buffer_size": -1}, {"output_buffer_size": 1, "output_buffer_timeout": 0}, id="no buffer"
        ),
    ],
)
def test_what_is_asked_for_is_answered(wish: dict[str, Any], expected: dict[str, int]) -> None:
    answer = reply(**wish)
    assert {name: answer[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("asked_ms", "heartbeat_s"),
    [
        pytest.param(0, 30.0, id="nsqd's default"),
        pytest.param(1000, 1.0, id="the shortest"),
        pytest.param(60_000, 60.0, id="the longest"),
        pytest.param(-1, None, id="none"),
    ],
)
def test_heartbeats(asked_ms: int, heartbeat_s: float | None) -> None:
    assert identify(said(heartbeat_interval=asked_ms), LIMITS).heartbeat_s == heartbeat_s


@pytest.mark.parametrize(
    ("wish", "problem"),
    [
        ({"heartbeat_interval": 999}, "heartbeat interval (999) is invalid"),
        ({"heartbeat_interval": 60_001}, "heartbeat interval (60001) is invalid"),
        ({"heartbeat_interval": -2}, "heartbeat interval (-2) is invalid"),
        ({"output_buffer_size": 63}, "output buffer size (63) is invalid"),
        ({"output_buffer_size": 65_537}, "output buffer size (65537) is invalid"),
        ({"output_buffer_timeout": 24}, "output buffer timeout (24) is invalid"),
        ({"output_buffer_timeout": 30_001}, "output buffer timeout (30001) is invalid"),
        ({"sample_rate": 100}, "sample rate (100) is invalid"),
        ({"sample_rate": -1}, "sample rate (-1) is invalid"),
        ({"msg_timeout": 999}, "msg timeout (999) is invalid"),
        ({"msg_timeout": 900_001}, "msg timeout (900001) is invalid"),
        ({"msg_timeout": -1}, "msg timeout (-1) is invalid"),
        ({"heartbeat_interval": "1000"}, "failed to decode JSON body"),
        ({"heartbeat_interval": 1000.5}, "failed to decode JSON body"),
        ({"heartbeat_interval": True}, "failed to decode JSON body"),
        ({"client_id": 1}, "failed to decode JSON body"),
        ({"feature_negotiation": 1}, "failed to decode JSON body"),
    ],
    ids=repr,
)
def test_a_value_out_of_range_or_type_is_refused(wish: dict[str, Any], problem: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        identify(said(**wish), LIMITS)
    assert (caught.value.code, caught.value.description) == ("E_BAD_BODY", f"IDENTIFY {problem}")


@pytest.mark.parametrize("body", [b"{", b"[]", b"1", b'"x"', b"\xff"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="failed to decode JSON body"):
        identify(body, LIMITS)


def test_names_are_taken_in_any_case_and_bytes_that_are_no_text_are_replaced() -> None:
    identity = identify(b'{"Client_ID": "a\xff", "SAMPLE_RATE": 5}', LIMITS)
    assert (identity.client_id, identity.sample_rate) == ("a\ufffd", 5)


def test_two_compressions_at_once_are_refused() -> None:
    with pytest.raises(ProtocolError, match=r"E_IDENTIFY_FAILED.*cannot enable both"):
        reply(snappy=True, deflate=True)


def test_a_client_is_its_host_until_it_says_who_it_is() -> None:
    assert anonymous("10.0.0.1", LIMITS).client_id == anonymous("10.0.0.1", LIMITS).hostname == "10.0.0.1"
    identity = identify(said(client_id="c", hostname="h", user_agent="u"), LIMITS)
    assert (identity.client_id, identity.hostname, identity.user_agent) == ("c", "h", "u")
