from collections.abc import Collection, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.bridge.rabbitmq.acknowledgement import Acknowledgement, acknowledgements


@pytest.mark.parametrize(
    ("open_tags", "done", "commands"),
    [
        pytest.param((), (), [], id="nothing is open"),
        pytest.param((4,), (4,), [(4, False)], id="one"),
        pytest.param((4, 5, 6), (4, 5, 6), [(6, True)], id="a batch needs one command"),
        pytest.param((4, 5, 6), (4, 5), [(5, True)], id="a later one stays open"),
        pytest.param((4, 5, 6), (5, 6), [(5, False), (6, False)], id="an earlier one stays open"),
        pytest.param((4, 5, 6, 7), (4, 5, 7), [(5, True), (7, False)], id="one between them stays open"),
        pytest.param((4,), (3, 4, 9), [(4, False)], id="unknown tags are left out"),
    ],
)
def test_commands_acknowledge_exactly_what_is_done(
    open_tags: Sequence[int], done: Collection[int], commands: list[tuple[int, bool]]
) -> None:
    assert acknowledgements(open_tags, done) == tuple(Acknowledgement(*each) for each in commands)


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)))
def test_any_part_of_a_batch_can_be_acknowledged(open_tags: set[int], done: set[int]) -> None:
    left = set(open_tags)
    for tag, multiple in acknowledgements(sorted(open_tags), done):
        assert tag in left
        left -= {each for each in left if each <= tag} if multiple else {tag}
    assert left == open_tags - done
