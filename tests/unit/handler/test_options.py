"""Options: every class keyword is described, checked and kept."""

import dataclasses
import inspect
import re

import pytest

from nsqkit.handler.checks import CHECKS
from nsqkit.handler.options import BatchOptions, HandlerOptions
from nsqkit.handler.spec import HandlerSpec

KEYWORDS = sorted(BatchOptions.__optional_keys__)


@pytest.mark.parametrize("name", KEYWORDS)
def test_a_keyword_is_described_checked_and_kept(name: str) -> None:
    described = [
        options
        for options in (HandlerOptions, BatchOptions)
        if re.search(rf"^    {name}: \S", inspect.getdoc(options) or "", re.MULTILINE)
    ]
    assert described == [HandlerOptions if name in HandlerOptions.__optional_keys__ else BatchOptions]
    assert name in CHECKS
    assert name in {field.name for field in dataclasses.fields(HandlerSpec)}


def test_what_is_checked_is_a_keyword() -> None:
    assert sorted(CHECKS) == KEYWORDS


def test_no_keyword_is_required_by_its_type() -> None:
    assert BatchOptions.__required_keys__ == frozenset()
