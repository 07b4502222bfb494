"""Mistakes: a statement raises its own, unless a loader collects those of all."""

import pytest

from nsqkit.errors import HandlerError
from nsqkit.handler.mistakes import deferring, report


def test_mistakes_are_raised_where_they_are_made() -> None:
    report(())
    with pytest.raises(HandlerError, match=r"a\.py:1: one") as caught:
        report(("a.py:1: one", "a.py:1: other"))
    assert caught.value.problems == ("a.py:1: one", "a.py:1: other")


def test_a_loader_collects_them_instead() -> None:
    token = deferring.set(True)
    try:
        report(("a.py:1: one",))
    finally:
        deferring.reset(token)
