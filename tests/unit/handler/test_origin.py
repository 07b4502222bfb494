"""Origin: the line of a team's own code that an exception came from."""

import asyncio
import json

import pytest

from nsqkit.handler.origin import own_place, place_of, waits_at


def test_no_error_has_no_place() -> None:
    assert place_of(None) == ""


def test_an_error_that_was_never_raised_has_none() -> None:
    assert place_of(ValueError("x")) == ""


def test_it_is_the_innermost_line_of_the_teams_own() -> None:
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("{")
    assert place_of(caught.value).rpartition(":")[0] == __file__


async def test_it_is_not_a_line_of_the_framework_or_the_library() -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    assert place_of(caught.value).rpartition(":")[0] == __file__


def test_a_line_of_a_library_will_do_where_it_is_asked_for_and_there_is_no_other() -> None:
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("{")
    error = caught.value
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next  # without this file's line
    assert place_of(error) == ""
    assert "json" in place_of(error, or_library=True)


def test_in_a_stack_it_is_the_innermost_line_of_the_teams_own() -> None:
    places = [("/team/main.py", 1), ("/team/orders.py", 2), (json.__file__, 3)]
    assert own_place(places) == "/team/orders.py:2"
    assert own_place(places[2:]) == ""
    assert own_place(places[2:], or_library=True) == f"{json.__file__}:3"


class TestWaitsAt:
    """The line at which a coroutine waits."""

    async def test_it_is_the_innermost_line_of_the_teams_own(self) -> None:
        async def outer() -> None:
            await inner()

        async def inner() -> None:
            await asyncio.sleep(0)  # a coroutine of a library

        coroutine = outer()
        coroutine.send(None)
        file, _, line = waits_at(coroutine).rpartition(":")
        assert (file, int(line)) == (__file__, inner.__code__.co_firstlineno + 1)
        coroutine.close()

    def test_one_that_has_ended_has_none(self) -> None:
        async def handle() -> None:
            """Wait for nothing."""

        coroutine = handle()
        with pytest.raises(StopIteration):
            coroutine.send(None)
        assert waits_at(coroutine) == ""
