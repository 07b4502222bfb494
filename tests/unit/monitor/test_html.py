"""HTML: texts and attributes are data, whatever they contain."""

import pytest

from nsqkit.monitor.html import Html, joined, tag

EVIL = "</script><img src=x onerror=alert(1)>\"'&"
ESCAPED = "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;"


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(tag("p", EVIL), id="text"),
        pytest.param(tag("p", tag("b", EVIL)), id="text in an element"),
        pytest.param(tag("p", class_=EVIL), id="attribute"),
        pytest.param(tag("p", joined("a", EVIL)), id="one of several texts"),
    ],
)
def test_a_text_is_never_markup(made: Html) -> None:
    assert ESCAPED in made
    assert EVIL not in made


def test_elements_are_markup() -> None:
    assert tag("p", "a < b ", tag("b", "c"), class_="x", aria_label="y") == (
        '<p class="x" aria-label="y">a &lt; b <b>c</b></p>'
    )
