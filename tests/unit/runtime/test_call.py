"""Call: whoever is called in a thread is told of the timeout, each at its time, by one timer."""

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from nsqkit import HandlerTimeoutError
from nsqkit.runtime.call import MOST_CANCELS, Caller
from nsqkit.testing.clock import VirtualClock
from tests.unit.runtime.bench import asynchronous, passed, plain, timers
from tests.waiting import PATIENCE_S, turns

if TYPE_CHECKING:
    from nsqkit.errors import UnawaitedError


class Marked:
    """Somebody who can wait until he is told, and leaves a mark then."""

    def __init__(self, marks: "list[Marked]") -> None:
        self._marks = marks
        self._is_told = threading.Event()
        self.overruns: list[float] = []
        self.stuck_at: list[str] = []
        self.unawaited: UnawaitedError | None = None

    def overrun(self, timeout_s: float) -> None:
        self.overruns.append(timeout_s)

    def stuck(self, at: str) -> None:
        self.stuck_at.append(at)

    @property
    def cancelled(self) -> bool:
        return self._is_told.is_set()

    @cancelled.setter
    def cancelled(self, is_cancelled: bool) -> None:
        assert is_cancelled
        self._marks.append(self)
        self._is_told.set()

    def wait(self) -> None:
        assert self._is_told.wait(PATIENCE_S)


@pytest.fixture
def marks() -> list[Marked]:
    return []


def caller(
    handle: Callable[[Any, Marked], Any], *, timeout_s: float = 0.01, make: Callable[..., Any] = plain
) -> Caller:
    spec = make(lambda event, ctx: None, timeout_s=timeout_s).spec
    return Caller(handle, spec, threads=4, executor_waits=lambda _: None)


class Ignorant:
    """A coroutine that ignores so many cancellations; it notes when each one came."""

    def __init__(self, hours: VirtualClock, ignores: int) -> None:
        self._hours = hours
        self._ignores = ignores
        self.cancelled_at_s: list[float] = []
        self.ends = asyncio.Event()

    async def __call__(self, _what: Any, _argument: Marked) -> str:
        while not self.ends.is_set():
            try:
                await self.ends.wait()
            except asyncio.CancelledError:
                self.cancelled_at_s.append(self._hours.elapsed_s)
                if len(self.cancelled_at_s) > self._ignores:
                    raise
        return "done"


class TestTold:
    """Who is told, and when."""

    async def test_each_is_told_once_when_its_own_time_is_over(self, marks: list[Marked]) -> None:
        calls = caller(lambda _, told: told.wait())
        told = [Marked(marks) for _ in range(4)]
        under_way = []
        for each in told:
            under_way.append(asyncio.ensure_future(calls.call(None, each)))
            await turns()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*under_way)
        assert sorted(marks, key=id) == sorted(told, key=id)
        calls.close()

    async def test_one_that_comes_when_all_before_have_ended_is_told_too(self, marks: list[Marked]) -> None:
        calls = caller(lambda _, told: told.wait())
        for count in (1, 2, 3):
            await calls.call(None, Marked(marks))
            assert len(marks) == count
        calls.close()

    async def test_who_has_ended_is_not_told_when_those_beside_him_are(self, marks: list[Marked]) -> None:
        def handle(is_slow: Any, told: Marked) -> None:
            if is_slow:
                told.wait()

        calls = caller(handle, timeout_s=1.0)
        quick, slow = Marked(marks), Marked(marks)
        await asyncio.gather(calls.call(False, quick), calls.call(True, slow))
        assert marks == [slow]
        calls.close()

    async def test_what_is_returned_late_counts(self, marks: list[Marked]) -> None:
        def handle(_: Any, told: Marked) -> str:
            told.wait()
            return "late"

        calls, argument = caller(handle), Marked(marks)
        assert await calls.call(None, argument) == "late"
        assert len(argument.overruns) == 1
        calls.close()

    async def test_what_is_raised_late_is_the_cause_of_a_timeout(self, marks: list[Marked]) -> None:
        def handle(_: Any, told: Marked) -> None:
            told.wait()
            raise ValueError("late")

        calls = caller(handle)
        with pytest.raises(HandlerTimeoutError) as caught:
            await calls.call(None, Marked(marks))
        assert isinstance(caught.value.__cause__, ValueError)
        calls.close()


class TestIgnoredCancellations:
    """A coroutine that swallows its cancellation and waits again."""

    async def test_it_is_cancelled_again_each_time_after_twice_as_long(
        self, hours: VirtualClock, marks: list[Marked]
    ) -> None:
        ignorant, argument = Ignorant(hours, MOST_CANCELS - 1), Marked(marks)
        calls = caller(ignorant, timeout_s=30.0, make=asynchronous)
        with pytest.raises(HandlerTimeoutError):
            await calls.call(None, argument)
        assert ignorant.cancelled_at_s == [30.0, 31.0, 33.0, 37.0]
        assert (argument.overruns, argument.stuck_at) == ([], [])
        assert timers() == []

    async def test_it_is_reported_once_and_then_left_alone(
        self, hours: VirtualClock, marks: list[Marked]
    ) -> None:
        ignorant, argument = Ignorant(hours, 100), Marked(marks)
        task = asyncio.ensure_future(caller(ignorant, timeout_s=30.0, make=asynchronous).call(None, argument))
        await passed(hours, 3600.0)
        assert len(ignorant.cancelled_at_s) == MOST_CANCELS
        (at,) = argument.stuck_at
        assert at.rpartition(":")[0] == __file__
        ignorant.ends.set()
        assert await task == "done", "what it returns counts"
        assert argument.overruns == [30.0]
        assert task.cancelling() == 0

    async def test_the_cancellation_of_another_is_passed_on(
        self, hours: VirtualClock, marks: list[Marked]
    ) -> None:
        ignorant = Ignorant(hours, 1)
        calls = caller(ignorant, timeout_s=30.0, make=asynchronous)
        task = asyncio.ensure_future(calls.call(None, Marked(marks)))
        await passed(hours, 30.5)  # after the first cancellation, before the second
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert timers() == []


async def test_a_closed_one_takes_no_call_and_holds_none(marks: list[Marked]) -> None:
    calls, told = caller(lambda *_: None), Marked(marks)
    calls.close()
    with pytest.raises(RuntimeError, match="pool of Scripted is closed"):
        await calls.call(None, told)
    assert not calls.in_thread(told)


async def test_a_call_whose_answer_came_while_another_blocked_the_loop_has_not_timed_out(
    hours: VirtualClock, marks: list[Marked]
) -> None:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    async def ask(_what: Any, _argument: Marked) -> str:
        return await answer

    def block() -> None:
        hours._now_s += 60.0
        loop.call_soon(answer.set_result, "in time")

    loop.call_later(1.0, block)
    call = asyncio.ensure_future(caller(ask, timeout_s=5.0, make=asynchronous).call(None, Marked(marks)))
    await passed(hours, 2.0)
    assert await call == "in time"


async def test_a_call_without_an_answer_after_a_block_times_out_all_the_same(
    hours: VirtualClock, marks: list[Marked]
) -> None:
    async def ask(_what: Any, _argument: Marked) -> None:
        await asyncio.Event().wait()

    def block() -> None:
        hours._now_s += 60.0

    asyncio.get_running_loop().call_later(1.0, block)
    call = asyncio.ensure_future(caller(ask, timeout_s=5.0, make=asynchronous).call(None, Marked(marks)))
    await passed(hours, 100.0)
    with pytest.raises(HandlerTimeoutError):
        await call
