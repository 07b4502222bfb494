"""Pool: calls run in threads, in order and as many at a time as there are; the loop learns how each ended."""

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from nsqkit.runtime.pool import GATHERED, Pool, PoolThread
from nsqkit.runtime.thread_call import AwaitedCall
from tests.waiting import PATIENCE_S, turns

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    """A pool of three."""
    pool = Pool(3, "three")
    yield pool
    pool.close()


def threads_of(pool: Pool) -> list[PoolThread]:
    return [each for each in threading.enumerate() if isinstance(each, PoolThread) and each.pool is pool]


async def ended(*calls: AwaitedCall) -> list[Any]:
    """Wait for calls, and return what they returned."""
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(call.ended for call in calls))
    return [call.returned for call in calls]


class Busy:
    """Calls that keep threads busy until they are let go."""

    def __init__(self, pool: Pool, count: int) -> None:
        self._inside = threading.Semaphore(0)
        self._leave = threading.Event()
        self.calls = [pool.submit(self._stay) for _ in range(count)]

    def _stay(self) -> None:
        self._inside.release()
        assert self._leave.wait(PATIENCE_S)

    async def all_inside(self) -> "Busy":
        for _ in self.calls:
            assert await asyncio.to_thread(self._inside.acquire, timeout=PATIENCE_S)
        return self

    def let_go(self) -> None:
        self._leave.set()


class TestCalls:
    """What a call is, and what becomes of it."""

    async def test_it_runs_in_a_thread_with_the_name_of_its_pool(self, pool: Pool) -> None:
        assert await ended(pool.submit(lambda: threading.current_thread().name)) == ["three_0"]

    async def test_it_has_its_arguments_and_says_when_it_ran(self, pool: Pool) -> None:
        call = pool.submit(divmod, 7, 2)
        assert await ended(call) == [(3, 1)]
        assert 0 < call.started_s <= call.ended_s

    @pytest.mark.parametrize(
        "error",
        [ValueError("x"), StopIteration(), SystemExit(2), KeyboardInterrupt(), asyncio.CancelledError()],
        ids=repr,
    )
    async def test_what_it_raises_is_kept_and_ends_no_thread(self, pool: Pool, error: BaseException) -> None:
        def fail() -> None:
            raise error

        call = pool.submit(fail)
        await ended(call)
        assert call.error is error
        assert await ended(pool.submit(lambda: threading.current_thread().name)) == ["three_0"]

    async def test_each_has_a_copy_of_the_context_it_was_asked_for_in(self, pool: Pool) -> None:
        def swap() -> str:
            found = who.get()
            who.set("a thread")
            return found

        calls = []
        for name in ("a", "b"):
            who.set(name)
            calls.append(pool.submit(swap))
        assert await ended(*calls) == ["a", "b"]
        assert who.get() == "b"

    async def test_nothing_of_it_is_left_behind(self, pool: Pool) -> None:
        class Event:
            def touch(self) -> None:
                pass

        event = Event()
        gone = weakref.ref(event)
        await ended(pool.submit(event.touch))
        gc.disable()
        try:
            del event
            await ended(pool.submit(int))  # the thread has gone on
            assert gone() is None
        finally:
            gc.enable()


class TestOrder:
    """Which call runs when, and in how many threads."""

    @pytest.mark.parametrize("count", [1, GATHERED, 5 * GATHERED])
    async def test_calls_begin_in_the_order_in_which_they_were_asked_for(self, count: int) -> None:
        pool, seen = Pool(1, "one"), list[int]()
        await ended(*(pool.submit(seen.append, n) for n in range(count)))
        assert seen == list(range(count))
        pool.close()

    async def test_so_do_calls_that_come_one_in_each_turn_of_the_loop(self) -> None:
        pool, seen, calls = Pool(1, "one"), list[int](), list[AwaitedCall]()
        for n in range(3 * GATHERED):
            calls.append(pool.submit(seen.append, n))
            await turns()
        await ended(*calls)
        assert seen == list(range(3 * GATHERED))
        pool.close()

    async def test_calls_that_block_have_all_threads_at_once(self, pool: Pool) -> None:
        together = threading.Barrier(3)
        for _ in range(20):
            await ended(*(pool.submit(together.wait, PATIENCE_S) for _ in range(3)))
        assert len(threads_of(pool)) == 3

    async def test_also_where_calls_that_end_at_once_come_between(self, pool: Pool) -> None:
        together = threading.Barrier(3)
        for _ in range(20):
            quick = [pool.submit(int) for _ in range(5)]
            slow = [pool.submit(together.wait, PATIENCE_S) for _ in range(3)]
            await ended(*quick, *slow)

    async def test_also_where_each_comes_by_itself(self, pool: Pool) -> None:
        busy = [await Busy(pool, 1).all_inside() for _ in range(3)]
        for each in busy:
            each.let_go()
        await ended(*(call for each in busy for call in each.calls))

    async def test_more_calls_than_threads_wait_for_a_free_one(self, pool: Pool) -> None:
        busy = await Busy(pool, 3).all_inside()
        waiting = [pool.submit(int) for _ in range(10)]
        assert pool.n_calls == 13
        busy.let_go()
        await ended(*busy.calls, *waiting)
        assert (pool.n_calls, len(threads_of(pool))) == (0, 3)

    async def test_an_end_does_not_wait_for_the_calls_that_block_behind_it(self, pool: Pool) -> None:
        for _ in range(20):
            quick = pool.submit(int)
            busy = Busy(pool, 3)
            await ended(quick)
            busy.let_go()
            await ended(*busy.calls)

    async def test_nor_does_it_where_there_is_one_thread(self) -> None:
        pool = Pool(1, "one")
        quick, busy = pool.submit(int), Busy(pool, 1)
        await ended(quick)
        busy.let_go()
        await ended(*busy.calls)
        pool.close()

    async def test_calls_that_come_one_after_the_other_share_a_thread(self, pool: Pool) -> None:
        for _ in range(20):
            await ended(pool.submit(int))
        assert len(threads_of(pool)) == 1

    async def test_the_loop_is_told_once_of_what_ends_while_it_is_at_something_else(
        self, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tell, told, last = pool.loop.call_soon_threadsafe, list[Any](), threading.Event()

        def counted(callback: Callable[[], object]) -> None:
            told.append(callback)
            tell(callback)

        busy = await Busy(pool, 3).all_inside()
        waiting = [pool.submit(int) for _ in range(50)]
        monkeypatch.setattr(pool.loop, "call_soon_threadsafe", counted)
        waiting.append(pool.submit(last.set))
        busy.let_go()
        assert last.wait(PATIENCE_S)  # on the loop, which hears nothing meanwhile
        assert len(told) <= 1
        await ended(*busy.calls, *waiting)


class TestEnd:
    """How calls and pools end early."""

    async def test_a_call_that_was_cancelled_before_it_began_does_not_run(self) -> None:
        pool, seen = Pool(1, "one"), list[int]()
        busy = await Busy(pool, 1).all_inside()
        cancelled, other = pool.submit(seen.append, 1), pool.submit(seen.append, 2)
        cancelled.ended.cancel()
        busy.let_go()
        await ended(*busy.calls, other)
        assert (seen, pool.n_calls) == ([2], 0)
        pool.close()

    async def test_one_that_is_cancelled_while_it_runs_goes_on_and_nobody_is_told(self, pool: Pool) -> None:
        busy = await Busy(pool, 1).all_inside()
        busy.calls[0].ended.cancel()
        assert pool.n_calls == 1
        busy.let_go()
        while pool.n_calls:
            await ended(pool.submit(int))
        assert busy.calls[0].ended_s > 0

    async def test_close_cancels_what_has_not_begun_and_leaves_what_runs_alone(self, pool: Pool) -> None:
        busy = await Busy(pool, 3).all_inside()
        waiting = pool.submit(int)
        pool.close()
        assert (waiting.ended.cancelled(), pool.n_calls) == (True, 3)
        busy.let_go()
        await ended(*busy.calls)
        assert pool.n_calls == 0

    async def test_after_close_no_thread_is_left_and_no_call_is_taken(self, pool: Pool) -> None:
        await ended(pool.submit(int))
        threads = threads_of(pool)
        pool.close()
        for thread in threads:
            await asyncio.to_thread(thread.join, PATIENCE_S)
            assert not thread.is_alive()
        with pytest.raises(RuntimeError, match="the pool of three is closed"):
            pool.submit(int)

    async def test_the_interpreter_does_not_wait_for_its_threads(self, pool: Pool) -> None:
        await ended(pool.submit(int))
        assert all(thread.daemon for thread in threads_of(pool))

    def test_a_loop_that_was_closed_meanwhile_is_told_nothing(self) -> None:
        async def leave() -> tuple[Pool, Busy]:
            pool = Pool(1, "left")
            return pool, await Busy(pool, 1).all_inside()

        pool, busy = asyncio.run(leave())
        threads = threads_of(pool)
        pool.close()
        busy.let_go()
        for thread in threads:  # an exception in it would fail the test
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        assert not busy.calls[0].ended.done()


class TestNoThreads:
    """The system may have no thread to give."""

    @pytest.fixture
    def none_left(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        return lambda: monkeypatch.setattr(PoolThread, "start", refuse)

    async def test_without_any_the_calls_fail(self, pool: Pool, none_left: Callable[[], None]) -> None:
        none_left()
        calls = [pool.submit(int), pool.submit(int)]
        await ended(*calls)
        assert [str(call.error) for call in calls] == ["can't start new thread"] * 2
        assert pool.n_calls == 0

    async def test_with_one_it_runs_them_all(self, pool: Pool, none_left: Callable[[], None]) -> None:
        busy = await Busy(pool, 1).all_inside()
        none_left()
        waiting = [pool.submit(int) for _ in range(3)]
        busy.let_go()
        await ended(*busy.calls, *waiting)
        assert len(threads_of(pool)) == 1
