"""Trace contexts: what is a valid ``traceparent``, and what follows from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.trace_context import TraceContext, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        pytest.param(VALID, 1, id="sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-00", 0, id="not sampled"),
        pytest.param(f"00-{TRACE}-{SPAN}-03", 3, id="with a random trace id"),
        pytest.param(f"01-{TRACE}-{SPAN}-01", 1, id="a later version"),
        pytest.param(f"01-{TRACE}-{SPAN}-01-more", 1, id="a later version with more fields"),
    ],
)
def test_a_valid_text_is_read(text: str, flags: int) -> None:
    assert parse_traceparent(text) == TraceContext(int(TRACE, 16), int(SPAN, 16), flags)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("00-1-2-01", id="too short"),
        pytest.param(VALID.upper(), id="upper case"),
        pytest.param(f"{VALID}-more", id="more fields than version 00 has"),
        pytest.param(f"ff-{TRACE}-{SPAN}-01", id="version ff"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", id="no trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", id="no span"),
        pytest.param(f" {VALID}", id="a space"),
        pytest.param(f"{VALID}\n", id="a newline"),
        pytest.param(f"01-{TRACE}-{SPAN}-01-{'x' * 512}", id="too long"),
    ],
)
def test_any_other_text_is_no_context(text: str | None) -> None:
    assert parse_traceparent(text) is None


@given(st.text(max_size=80))
def test_whatever_a_peer_sends_nothing_is_raised(text: str) -> None:
    assert parse_traceparent(text) is None


def test_it_is_written_as_it_was_read() -> None:
    assert str(parse_traceparent(VALID)) == VALID


def test_the_unsampled_context_differs_in_one_flag() -> None:
    context = TraceContext(1, 2, 3)
    assert (context.is_sampled, context.unsampled()) == (True, TraceContext(1, 2, 2))
    assert not context.unsampled().is_sampled


@pytest.mark.parametrize(
    ("trace_id", "fraction"),
    [
        pytest.param(1 << 64, 0.0, id="the low bits decide"),
        pytest.param(1 << 63, 0.5, id="half"),
        pytest.param((1 << 128) - 1, 1 - 2**-53, id="the last is below 1"),
    ],
)
def test_the_fraction_is_the_place_of_the_trace(trace_id: int, fraction: float) -> None:
    assert TraceContext(trace_id, 1, 0).fraction == fraction
