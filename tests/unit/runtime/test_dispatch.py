"""Dispatch: a handler is called on the loop or in a thread, inside its middleware, within its timeout."""

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from nsqkit import Context, Discard, Finish, HandlerTimeoutError, Next, Outcome, Requeue
from nsqkit.runtime.dispatch import Dispatcher
from tests.unit.runtime.bench import Happened, asynchronous, ending, plain
from tests.waiting import PATIENCE_S

EVENT = Happened(1)
who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


NAMES: dict[Context, str] = {}
"""In which thread each call was."""


async def where(_: Happened, ctx: Context) -> None:
    NAMES[ctx] = threading.current_thread().name


def where_plain(_: Happened, ctx: Context) -> None:
    NAMES[ctx] = threading.current_thread().name


class TestWhere:
    """Where a handler runs."""

    async def test_an_async_handler_runs_on_the_loop(self) -> None:
        ctx = Context()
        assert await Dispatcher(asynchronous(where)).call(EVENT, ctx) == Finish()
        assert NAMES[ctx] == threading.current_thread().name

    async def test_a_plain_handler_runs_in_a_thread_of_its_own_pool(self) -> None:
        ctx = Context()
        dispatcher = Dispatcher(plain(where_plain))
        assert await dispatcher.call(EVENT, ctx) == Finish()
        assert NAMES[ctx].startswith("Scripted")
        dispatcher.close()

    async def test_a_plain_handler_may_be_told_to_run_on_the_loop(self) -> None:
        ctx = Context()
        await Dispatcher(plain(where_plain, run_on_loop=True)).call(EVENT, ctx)
        assert NAMES[ctx] == threading.current_thread().name

    async def test_as_many_run_at_a_time_as_there_are_threads(self) -> None:
        together = threading.Barrier(3)

        def meet(_: Happened, ctx: Context) -> None:
            together.wait(PATIENCE_S)

        dispatcher = Dispatcher(plain(meet), threads=3)
        await asyncio.gather(*(dispatcher.call(EVENT, Context()) for _ in range(3)))
        dispatcher.close()

    async def test_a_thread_sees_the_context_variables_of_its_delivery(self) -> None:
        def read(_: Happened, ctx: Context) -> Outcome:
            found = who.get()
            who.set("the thread")
            return Discard(found)

        who.set("the loop")
        dispatcher = Dispatcher(plain(read))
        assert await dispatcher.call(EVENT, Context()) == Discard("the loop")
        assert who.get() == "the loop"
        dispatcher.close()

    async def test_the_wait_for_a_thread_is_measured(self) -> None:
        waits: list[float] = []
        dispatcher = Dispatcher(plain(where_plain), executor_waits=waits.extend)
        await dispatcher.call(EVENT, Context())
        assert [wait_s >= 0 for wait_s in waits] == [True]
        dispatcher.close()

    async def test_after_close_a_stuck_thread_is_left_alone(self) -> None:
        inside, leave = threading.Event(), threading.Event()

        def stick(_: Happened, ctx: Context) -> None:
            inside.set()
            leave.wait(PATIENCE_S)

        dispatcher = Dispatcher(plain(stick))
        ctx = Context()
        call = asyncio.create_task(dispatcher.call(EVENT, ctx))
        await asyncio.to_thread(inside.wait, PATIENCE_S)
        assert dispatcher.in_thread(ctx)
        dispatcher.close()
        leave.set()
        assert await call == Finish()
        assert not dispatcher.in_thread(ctx)


class TestOutcomes:
    """What comes back."""

    @pytest.mark.parametrize("outcome", [Finish(), Requeue(3), Discard("x")], ids=repr)
    async def test_an_outcome_is_passed_on(self, outcome: Outcome) -> None:
        assert await Dispatcher(ending(outcome)).call(EVENT, Context()) == outcome

    @pytest.mark.parametrize("outcome", ["done", 0, False, [], Finish], ids=repr)
    async def test_anything_else_is_a_type_error_that_names_the_handler(self, outcome: object) -> None:
        with pytest.raises(TypeError, match=r"Scripted\.handle returned"):
            await Dispatcher(ending(outcome)).call(EVENT, Context())

    @pytest.mark.parametrize(
        "error", [ValueError("x"), TimeoutError("x"), asyncio.CancelledError()], ids=repr
    )
    async def test_what_an_async_handler_raises_is_passed_on(self, error: BaseException) -> None:
        with pytest.raises(type(error)) as caught:
            await Dispatcher(ending(error)).call(EVENT, Context())
        assert caught.value is error
        assert not isinstance(caught.value, HandlerTimeoutError)

    @pytest.mark.parametrize("error", [ValueError("x"), TimeoutError("x"), SystemExit(2)], ids=repr)
    async def test_what_a_plain_handler_raises_is_passed_on(self, error: BaseException) -> None:
        def fail(_: Happened, ctx: Context) -> None:
            raise error

        dispatcher = Dispatcher(plain(fail))
        with pytest.raises(type(error)) as caught:
            await dispatcher.call(EVENT, Context())
        assert caught.value is error
        dispatcher.close()

    @pytest.mark.parametrize("run_on_loop", [True, False])
    async def test_a_stop_iteration_ends_no_loop(self, run_on_loop: bool) -> None:  # noqa: FBT001
        def fail(_: Happened, ctx: Context) -> None:
            raise StopIteration

        dispatcher = Dispatcher(plain(fail, run_on_loop=run_on_loop))
        with pytest.raises(RuntimeError, match="StopIteration"):
            await dispatcher.call(EVENT, Context())
        dispatcher.close()


class TestTimeout:
    """What happens past ``timeout_s``."""

    async def test_an_async_handler_is_cancelled(self) -> None:
        cancelled: list[bool] = []

        async def hang(_: Happened, ctx: Context) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        with pytest.raises(HandlerTimeoutError, match=r"timeout_s=0\.01"):
            await Dispatcher(asynchronous(hang, timeout_s=0.01)).call(EVENT, Context())
        assert cancelled == [True]

    async def test_what_an_async_handler_raises_when_cancelled_is_what_it_raised(self) -> None:
        async def hang(_: Happened, ctx: Context) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("while tidying up")

        with pytest.raises(ValueError, match="tidying"):
            await Dispatcher(asynchronous(hang, timeout_s=0.01)).call(EVENT, Context())

    async def test_a_cancellation_from_outside_is_no_timeout(self) -> None:
        inside = asyncio.Event()

        async def hang(_: Happened, ctx: Context) -> None:
            inside.set()
            await asyncio.Event().wait()

        call = asyncio.create_task(Dispatcher(asynchronous(hang)).call(EVENT, Context()))
        await inside.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    async def test_a_plain_handler_in_time_is_not_told_to_end(self) -> None:
        ctx = Context()
        dispatcher = Dispatcher(plain(where_plain))
        await dispatcher.call(EVENT, ctx)
        assert not ctx.cancelled
        dispatcher.close()

    async def test_the_timeout_bounds_the_handler_not_its_middleware(self) -> None:
        async def slow_layer(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            with pytest.raises(HandlerTimeoutError):
                await call_next(event, ctx)
            return Requeue(1)

        async def hang(_: Happened, ctx: Context) -> None:
            await asyncio.Event().wait()

        dispatcher = Dispatcher(asynchronous(hang, timeout_s=0.01), middleware=[slow_layer])
        assert await dispatcher.call(EVENT, Context()) == Requeue(1)


class Layer:
    """Middleware that writes down when it is entered and left."""

    def __init__(self, name: str, journal: list[str]) -> None:
        self.name = name
        self.journal = journal

    async def __call__(self, event: Any, ctx: Context, call_next: Next) -> Outcome | None:
        self.journal.append(f"{self.name} in")
        try:
            return await call_next(event, ctx)
        finally:
            self.journal.append(f"{self.name} out")


class TestMiddleware:
    """Middleware stands around the call, the first outermost."""

    async def test_the_first_is_the_outermost(self) -> None:
        journal: list[str] = []

        async def note(_: Happened, ctx: Context) -> None:
            journal.append("handler")

        layers = [Layer("a", journal), Layer("b", journal)]
        await Dispatcher(asynchronous(note), middleware=layers).call(EVENT, Context())
        assert journal == ["a in", "b in", "handler", "b out", "a out"]

    async def test_it_stands_around_a_failure_too(self) -> None:
        journal: list[str] = []
        dispatcher = Dispatcher(ending(ValueError("x")), middleware=[Layer("a", journal)])
        with pytest.raises(ValueError, match="x"):
            await dispatcher.call(EVENT, Context())
        assert journal == ["a in", "a out"]

    async def test_it_may_replace_the_event_and_the_outcome(self) -> None:
        seen: list[Happened] = []

        async def note(event: Happened, ctx: Context) -> None:
            seen.append(event)

        async def replace(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            await call_next(Happened(event.n + 1), ctx)
            return Discard("seen")

        dispatcher = Dispatcher(asynchronous(note), middleware=[replace])
        assert await dispatcher.call(EVENT, Context()) == Discard("seen")
        assert seen == [Happened(2)]

    async def test_it_may_refuse_the_call(self) -> None:
        async def refuse(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            return Requeue(9)

        dispatcher = Dispatcher(ending(AssertionError("called")), middleware=[refuse])
        assert await dispatcher.call(EVENT, Context()) == Requeue(9)

    async def test_what_it_returns_must_be_an_outcome_too(self) -> None:
        async def confuse(event: Any, ctx: Context, call_next: Next) -> Any:
            return "done"

        with pytest.raises(TypeError, match="returned 'done'"):
            await Dispatcher(ending(None), middleware=[confuse]).call(EVENT, Context())

    async def test_it_runs_on_the_loop_also_around_a_plain_handler(self) -> None:
        threads: list[str] = []

        async def note(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            threads.append(threading.current_thread().name)
            return await call_next(event, ctx)

        dispatcher = Dispatcher(plain(where_plain), middleware=[note])
        await dispatcher.call(EVENT, Context())
        assert threads == [threading.current_thread().name]
        dispatcher.close()
