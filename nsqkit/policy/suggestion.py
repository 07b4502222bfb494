"""Suggestions: find the known words with the closest spelling to an unknown one."""

import difflib
from collections.abc import Iterable


def similar(word: str, known: Iterable[str], *, most: int = 3) -> tuple[str, ...]:
    """Return the known words that are close to a word, the closest first.

    Args:
        word: The unknown word.
        known: The words to choose from, in any order.
        most: Maximum number of words to return; 1 or more.
    """
    return tuple(difflib.get_close_matches(word, list(known), n=most))


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return a suffix for an error text, ``; did you mean 'channel'?``; empty if no word is close.

    Args:
        word: The unknown word.
        known: The words to choose from, in any order.
    """
    close = similar(word, known, most=1)
    return f"; did you mean {close[0]!r}?" if close else ""
