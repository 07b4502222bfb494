"""Exit codes: how a child ended, in words and as the parent's own code."""

import pytest

from nsqkit.process.exit_code import combined, described


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param(3, "exit code 3", id="it exited"),
        pytest.param(-9, "SIGKILL, which the kernel sends when memory runs out", id="it was killed"),
        pytest.param(-11, "SIGSEGV", id="it crashed"),
        pytest.param(-63, "signal 63", id="by a signal without a name"),
    ],
)
def test_an_end_is_described(code: int, words: str) -> None:
    assert described(code) == words


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        pytest.param([], 0, id="no process"),
        pytest.param([0, 0], 0, id="all ended cleanly"),
        pytest.param([0, 2, 1], 2, id="the first failure counts"),
        pytest.param([0, -9], 137, id="one was killed, as a shell shows it"),
        pytest.param([-15], 143, id="one was terminated"),
    ],
)
def test_several_ends_are_one_code(codes: list[int], code: int) -> None:
    assert combined(codes) == code
