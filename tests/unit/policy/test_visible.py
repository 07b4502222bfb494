"""Visible: what a terminal would obey is shown instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("order 17, café", "order 17, café", id="printable text stays"),
        pytest.param("\x1b[2Jx", "\\x1b[2Jx", id="an escape sequence"),
        pytest.param("\x1b]0;owned\x07", "\\x1b]0;owned\\x07", id="a window's title"),
        pytest.param("\x9b31m", "\\x9b31m", id="a sequence in one byte"),
        pytest.param("a\rb\x08c\x7f", "a\\rb\\x08c\\x7f", id="overwriting"),
        pytest.param("\u202egpj.exe", "\\u202egpj.exe", id="reversed text"),
        pytest.param("\ud800", "\\ud800", id="half a surrogate pair"),
        pytest.param("two\n\tlines", "two\n\tlines", id="line breaks and tabs stay"),
    ],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_caller_chooses_what_stays() -> None:
    assert visible("a\n\tb", keep="") == "a\\n\\tb"


@given(st.text(st.characters()))
def test_nothing_is_left_that_a_terminal_would_obey(text: str) -> None:
    shown = visible(text, keep="")
    assert shown.isprintable()
    shown.encode()
