"""What a peer wrote, whatever it is, fits on a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.peer_text import LONGEST_CHARACTERS, peer_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("", "", id="empty"),
        pytest.param(b"E_INVALID no such thing", "E_INVALID no such thing", id="bytes"),
        pytest.param("Größe", "Größe", id="letters of any language"),
        pytest.param("x" * 500, "x" * 500, id="as long as it may be"),
        pytest.param("x" * 501, "x" * 499 + "…", id="longer"),
        pytest.param(b"x" * 900_000, "x" * 499 + "…", id="many bytes"),
        pytest.param(("é" * 501).encode(), "é" * 499 + "…", id="two bytes each"),
        pytest.param("a\nb\x1b[31m", "a\\nb\\x1b[31m", id="line ends and terminal escapes"),
        pytest.param("\ud800", "\\ud800", id="half of a surrogate pair"),
        pytest.param(b"\xff", "\ufffd", id="not UTF-8"),
    ],
)
def test_it_is_short_and_printable(text: bytes | str, shown: str) -> None:
    assert peer_text(text) == shown


@given(st.text() | st.binary())
def test_it_is_always_one_printable_line(text: bytes | str) -> None:
    shown = peer_text(text)
    assert shown.isprintable()
    assert len(shown) <= LONGEST_CHARACTERS
