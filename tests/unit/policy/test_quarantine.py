"""Quarantine: who may have ended its process, and in which order the suspects run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.quarantine import is_suspect, turn


@pytest.mark.parametrize(("attempts", "expected"), [(1, False), (5, False), (6, True), (65535, True)])
def test_a_suspect_had_deliveries_that_left_no_outcome(attempts: int, expected: bool) -> None:  # noqa: FBT001
    assert is_suspect(attempts, max_attempts=5) is expected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((6, b"f" * 16), (7, b"0" * 16), id="fewer attempts go first, whatever the ids"),
        pytest.param((9, b"0" * 16), (9, b"1" * 16), id="of equals the smaller id, at an odd number"),
        pytest.param((6, b"1" * 16), (6, b"0" * 16), id="the greater, at an even one"),
        pytest.param((7, b"00000000000000a0"), (7, b"00000000000000b0"), id="as the digits go"),
    ],
)
def test_turns(first: tuple[int, bytes], second: tuple[int, bytes]) -> None:
    assert turn(*first) < turn(*second)


IDS = st.integers(0, 2**64 - 1).map(lambda number: b"%016x" % number)


class Process:
    """A worker that runs its suspects one by one, dies of one of them, and is started again."""

    def __init__(self, attempts: dict[bytes, int], poison: bytes) -> None:
        self.attempts = attempts
        self.poison = poison

    def run(self) -> None:
        """Run until the poison ends it: what it held and had not settled has an attempt more."""
        for id_ in sorted(self.attempts, key=lambda id_: turn(self.attempts[id_], id_)):
            if id_ == self.poison:
                break
            del self.attempts[id_]
        self.attempts = {id_: attempts + 1 for id_, attempts in self.attempts.items()}


@given(st.sets(IDS, min_size=1, max_size=60), st.integers(6, 60), st.data())
def test_after_two_crashes_only_the_poison_is_left_of_equals(
    ids: set[bytes], attempts: int, data: st.DataObject
) -> None:
    poison = data.draw(st.sampled_from(sorted(ids)))
    process = Process(dict.fromkeys(ids, attempts), poison)
    process.run()
    process.run()
    assert process.attempts == {poison: attempts + 2}


@given(st.dictionaries(IDS, st.integers(6, 12), min_size=1, max_size=60), st.data())
def test_who_has_had_fewer_crashes_is_spared_by_the_first(
    held: dict[bytes, int], data: st.DataObject
) -> None:
    """The poison was there at every crash; whoever was not has fewer attempts, and its turn comes before."""
    poison = data.draw(st.sampled_from(sorted(held)))
    equals = {id_ for id_, attempts in held.items() if attempts == held[poison]}
    later = {id_ for id_, attempts in held.items() if attempts > held[poison]}
    process = Process(dict(held), poison)
    process.run()
    assert process.attempts.keys() <= equals | later
    process.run()
    assert process.attempts.keys() <= {poison} | later
