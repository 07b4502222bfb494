"""Suggestions: find the known word with the closest spelling to an unknown one."""

import difflib
from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return a suffix for an error text, ``; did you mean 'channel'?``; empty if no word is close.

    Args:
        word: The unknown word.
        known: The words to choose from, in any order.
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
