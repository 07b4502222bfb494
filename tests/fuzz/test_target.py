"""The fuzz target without a fuzzer: on its corpus, on valid conversations, and on spoiled ones."""

import random
from pathlib import Path

import pytest

from tests.fuzz.seeds import COMMANDS, LOOKUPS, Spoiler
from tests.fuzz.target import one_input

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
SEEDS = COMMANDS + LOOKUPS


@pytest.mark.parametrize("path", CORPUS, ids=[path.name for path in CORPUS])
def test_the_corpus_is_answered_as_documented(path: Path) -> None:
    one_input(path.read_bytes())


@pytest.mark.parametrize("seed", range(len(SEEDS)))
@pytest.mark.parametrize("cut", [0, 1, 6, 255])
def test_valid_conversations_are_answered_as_documented(seed: int, cut: int) -> None:
    one_input(bytes([cut]) + SEEDS[seed])


def test_spoiled_conversations_are_answered_as_documented() -> None:
    spoiler = Spoiler(random.Random(1))
    for number in range(2000):
        one_input(bytes([number % 256]) + spoiler.one_of(SEEDS))


def test_nothing_at_all_is_an_input_too() -> None:
    one_input(b"")
    one_input(b"\0")
