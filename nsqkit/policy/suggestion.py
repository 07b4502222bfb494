"""Suggestion: the known word that a misspelt one is closest to; it looks at spelling only."""

import difflib
from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return the end of an error's line, ``; did you mean 'channel'?``; empty where no word is close.

    Args:
        word: The word that is not known.
        known: The words to choose from, in any order.
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
