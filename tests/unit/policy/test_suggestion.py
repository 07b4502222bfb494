"""Suggestion: an error names the known word that is meant, where one is close."""

from collections.abc import Iterable

import pytest

from nsqkit.policy.suggestion import similar, suggestion


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        pytest.param("chanel", ["topic", "channel"], "; did you mean 'channel'?", id="close"),
        pytest.param("colour", ["topic", "channel"], "", id="far from all"),
        pytest.param("colour", [], "", id="nothing to choose from"),
        pytest.param("threds", ["threads", "thread"], "; did you mean 'threads'?", id="the closest of two"),
    ],
)
def test_a_suggestion_is_made_where_a_word_is_close(word: str, known: Iterable[str], expected: str) -> None:
    assert suggestion(word, known) == expected


def test_the_known_words_may_be_made_one_by_one() -> None:
    assert suggestion("chanel", iter(("topic", "channel"))) == "; did you mean 'channel'?"


def test_several_similar_words_are_named_the_closest_first() -> None:
    known = ["orders.v2", "bills", "orders", "ordered"]
    assert similar("ordres", known) == ("orders", "ordered", "orders.v2")
    assert similar("ordres", known, most=1) == ("orders",)
