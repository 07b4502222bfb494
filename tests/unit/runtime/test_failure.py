"""Failures: the end of their stacks, without secrets."""

import asyncio
import sys

import pytest

from nsqkit.runtime.failure import STACK_LIMIT, as_failure, is_from_outside, stack_of
from tests.waiting import turns


def _raised(error: Exception) -> Exception:
    try:
        raise error  # noqa: TRY301 - that is all it is for
    except Exception as caught:  # noqa: BLE001 - with its traceback
        return caught


class TestStack:
    def test_no_error_has_no_stack(self) -> None:
        assert stack_of(None) == ""

    def test_an_error_that_was_never_raised_has_none(self) -> None:
        assert stack_of(ValueError("x")) == ""

    def test_it_ends_with_the_error_and_its_line(self) -> None:
        stack = stack_of(_raised(ValueError("this one")))
        assert stack.startswith("Traceback")
        assert "in _raised" in stack
        assert stack.endswith("ValueError: this one\n")

    def test_of_a_long_one_the_end_stays(self) -> None:
        stack = stack_of(_raised(ValueError("x" * 50_000 + " the end")))
        assert len(stack) <= STACK_LIMIT
        assert stack.rstrip().endswith("the end")

    def test_secrets_are_masked(self) -> None:
        assert "hush" not in stack_of(_raised(ValueError("password=hush")))

    def test_what_utf8_cannot_spell_is_escaped(self) -> None:
        stack_of(_raised(ValueError("\udc80"))).encode()


class TestWhoseItIs:
    """Two exceptions may come from Python itself; all others come from the code that the task runs."""

    @pytest.mark.parametrize("error", [ValueError(), SystemExit(), GeneratorExit()], ids=repr)
    async def test_what_is_raised_while_the_task_runs_is_the_teams(self, error: BaseException) -> None:
        for is_stopping in (False, True):
            assert not is_from_outside(error, asyncio.current_task(), is_stopping=is_stopping)

    @pytest.mark.parametrize("is_stopping", [False, True])
    async def test_a_keyboard_interrupt_is_a_second_ctrl_c_only_while_the_worker_stops(
        self, *, is_stopping: bool
    ) -> None:
        found = is_from_outside(KeyboardInterrupt(), asyncio.current_task(), is_stopping=is_stopping)
        assert found is is_stopping

    async def test_a_coroutine_that_is_discarded_by_another_task_is_closed(self) -> None:
        theirs = asyncio.create_task(turns())
        assert is_from_outside(GeneratorExit(), theirs, is_stopping=False)
        await theirs

    def test_a_coroutine_that_is_discarded_without_a_loop_is_closed(self) -> None:
        assert is_from_outside(GeneratorExit(), None, is_stopping=False)


@pytest.mark.parametrize("error", [ValueError("x"), ExceptionGroup("g", [ValueError()])])
def test_an_exception_fails_a_message_as_it_is(error: Exception) -> None:
    assert as_failure(error) is error


def test_what_is_no_exception_becomes_one_with_its_traceback() -> None:
    with pytest.raises(SystemExit) as caught:
        sys.exit(3)
    failure = as_failure(caught.value)
    assert failure.__traceback__ is caught.value.__traceback__
    assert str(failure) == "the handler raised SystemExit: 3"
