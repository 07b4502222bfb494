"""Decode: a message becomes its event, or a verdict with the error behind it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.errors import DecodeError, UnknownEventError
from nsqkit.events.codec.decoder import Decoded, Decoder
from nsqkit.events.types import REGISTRY
from nsqkit.policy.verdict import DeadLetterReason, OutcomeLabel, RequeueReason, Rules
from nsqkit.runtime.decode import Unread, decode
from tests.unit.runtime.bench import POLICY, FakeMessage, Happened

DECODER = Decoder("consumed", (REGISTRY.of(Happened),))
RULES = Rules(POLICY)


def envelope(**changes: Any) -> bytes:
    fields = {"specversion": "1.0", "type": "bench.happened.v1", "source": "s", "id": "e-1", "data": {"n": 1}}
    return json.dumps(fields | changes).encode()


def unread(body: bytes, *, attempts: int = 1) -> Unread:
    found = decode(FakeMessage(body), DECODER, RULES, attempts=attempts)
    assert isinstance(found, Unread)
    return found


@pytest.mark.parametrize(
    ("body", "event_id"),
    [pytest.param(b'{"n": 1}', None, id="bare"), pytest.param(envelope(), "e-1", id="in an envelope")],
)
def test_a_valid_body_is_its_event(body: bytes, event_id: str | None) -> None:
    decoded = decode(FakeMessage(body), DECODER, RULES, attempts=1)
    assert isinstance(decoded, Decoded)
    assert (decoded.event, decoded.wire_type, decoded.event_id) == (
        Happened(1),
        "bench.happened.v1",
        event_id,
    )


def test_an_invalid_body_is_undecodable_and_says_where() -> None:
    verdict, error = unread(envelope(data={"n": "one"}))
    assert (verdict.label, verdict.reason) == (OutcomeLabel.DEAD_LETTER, DeadLetterReason.UNDECODABLE)
    assert verdict.detail.startswith("topic consumed: bench.happened.v1 at $.data.n:")
    assert isinstance(error, DecodeError)
    assert error.event_id == "e-1"


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        pytest.param(4, (OutcomeLabel.REQUEUE, RequeueReason.UNKNOWN_TYPE), id="comes back"),
        pytest.param(5, (OutcomeLabel.DEAD_LETTER, DeadLetterReason.UNKNOWN_TYPE), id="until exhausted"),
    ],
)
def test_an_unknown_type_has_the_verdict_of_its_attempts(attempts: int, expected: tuple[Any, Any]) -> None:
    verdict, error = unread(envelope(type="bench.happened.v2"), attempts=attempts)
    assert (verdict.label, verdict.reason) == expected
    assert isinstance(error, UnknownEventError)
    assert error.event_id == "e-1"


def test_what_the_verdict_says_is_redacted() -> None:
    assert "hush" not in unread(envelope(type="token=hush")).verdict.detail


@given(
    st.one_of(
        st.binary(),
        st.text().map(str.encode),
        st.recursive(st.text(), st.lists).map(json.dumps).map(str.encode),
    )
)
def test_no_body_raises(body: bytes) -> None:
    assert isinstance(decode(FakeMessage(body), DECODER, RULES, attempts=1), Decoded | Unread)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"specversion":' + b"[" * 100_000])
def test_a_body_that_nests_without_end_is_undecodable(body: bytes) -> None:
    assert unread(body).verdict.reason == DeadLetterReason.UNDECODABLE
