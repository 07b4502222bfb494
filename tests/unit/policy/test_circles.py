"""Routes that lead back to where one of them begins are found, and others are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.circles import circle


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        pytest.param({}, (), id="no route"),
        pytest.param({"a": (1, 2)}, (), id="one way"),
        pytest.param({"a": (1, 1)}, ("a",), id="a route to its own source"),
        pytest.param({"a": (1, 2), "b": (2, 1)}, ("a", "b"), id="there and back"),
        pytest.param(
            {"a": (1, 2), "b": (2, 3), "c": (3, 2)}, ("b", "c"), id="a way into a circle is not in it"
        ),
        pytest.param({"a": (1, 2), "b": (1, 3), "c": (2, 4), "d": (3, 4)}, (), id="two ways to one place"),
        pytest.param(
            {"a": (1, 2), "b": (2, 3), "c": (2, 1)}, ("a", "c"), id="a fork of which one leads back"
        ),
    ],
)
def test_circle(routes: dict[str, tuple[int, int]], expected: tuple[str, ...]) -> None:
    assert circle(routes) == expected


@given(st.dictionaries(st.text(max_size=3), st.tuples(st.integers(0, 8), st.integers(0, 8))))
def test_what_is_found_leads_back(routes: dict[str, tuple[int, int]]) -> None:
    """Without what was found, and so on, no circle is left: then the places can be put in an order."""
    while found := circle(routes):
        for name, following in zip(found, (*found[1:], found[0]), strict=True):
            assert routes[name][1] == routes[following][0]
        del routes[found[0]]
    while routes:
        ends = {end for _, end in routes.values()}
        first = [name for name, (begin, _) in routes.items() if begin not in ends]
        assert first
        for name in first:
            del routes[name]
