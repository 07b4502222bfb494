import random
from itertools import islice

from tests.chaos.troubles import drawn

SORTS = ("a", "b", "c", "d", "e")


def test_each_sort_comes_once_before_any_comes_again() -> None:
    found = list(islice(drawn(SORTS, random.Random(1)), 15))
    rounds = [found[begin : begin + 5] for begin in (0, 5, 10)]
    assert all(sorted(each) == list(SORTS) for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1, "in another order"


def test_a_seed_draws_the_same_again() -> None:
    first, second = (list(islice(drawn(SORTS, random.Random(2)), 50)) for _ in range(2))
    assert first == second
