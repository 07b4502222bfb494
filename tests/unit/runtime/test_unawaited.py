"""Unawaited: a coroutine that a handler forgets to await fails its message, and no other one."""

import asyncio
import gc
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from nsqkit import BatchHandler, Context, Delivery, Next
from nsqkit.errors import UnawaitedError
from nsqkit.handler.resources import Resource
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.scope import Opening, Scope
from tests.unit.runtime.bench import POLICY, Bench, Happened, asynchronous, plain
from tests.waiting import turns

Behave = Callable[[], Any]


async def notify() -> None:
    """Do nothing."""


def drops() -> None:
    notify()  # type: ignore[unused-coroutine]


def drops_what_a_library_made() -> None:
    asyncio.sleep(1)  # type: ignore[unused-coroutine]


def drops_twice_in_a_helper() -> None:
    for _ in range(2):
        drops()


def keeps_until_it_returns() -> None:
    kept = notify()
    assert asyncio.iscoroutine(kept)


def line_in(function: Any, offset: int = 1) -> str:
    return f"{__file__}:{function.__code__.co_firstlineno + offset}"


SLIPS = [
    pytest.param(drops, line_in(drops), id="dropped at once"),
    pytest.param(drops_what_a_library_made, line_in(drops_what_a_library_made), id="of a library"),
    pytest.param(drops_twice_in_a_helper, line_in(drops), id="by a helper, twice"),
]


def asynchronously(behave: Behave) -> Any:
    async def handle(_: Happened, ctx: Context) -> None:
        behave()

    return asynchronous(handle)


def after_a_wait(behave: Behave) -> Any:
    async def handle(_: Happened, ctx: Context) -> None:
        await turns()
        behave()

    return asynchronous(handle)


def in_a_thread(behave: Behave) -> Any:
    return plain(lambda _, ctx: behave())


def plainly_on_the_loop(behave: Behave) -> Any:
    return plain(lambda _, ctx: behave(), run_on_loop=True)


def in_a_batch(behave: Behave) -> Any:
    class Batches(BatchHandler[Happened], channel="work", max_messages=1, retry=POLICY):
        async def handle(self, batch: Sequence[Delivery[Happened]]) -> None:
            behave()

    return Batches()


MAKERS = [asynchronously, after_a_wait, in_a_thread, plainly_on_the_loop, in_a_batch]


@pytest.fixture(params=["error", "ignore", "always"])
def python_warns(request: pytest.FixtureRequest) -> Iterator[list[Any]]:
    """What Python itself warns of; the filters make no difference to nsqkit."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter(request.param)
        yield found


class TestForgotten:
    """The message whose handler forgot an await."""

    @pytest.mark.parametrize(("slip", "at"), SLIPS)
    @pytest.mark.parametrize("make", MAKERS)
    async def test_it_fails_with_the_line_whatever_the_filters_do(
        self, make: Callable[[Behave], Any], slip: Behave, at: str, python_warns: list[Any]
    ) -> None:
        bench = Bench(make(slip))
        await bench.run()
        assert (bench.outcome, bench.reason) == ("requeue", "error")
        (fields,) = bench.log.settled()
        assert (fields["at"], fields["error_type"]) == (at, "UnawaitedError")
        assert not python_warns

    @pytest.mark.parametrize("make", MAKERS)
    async def test_what_is_dropped_at_the_return_is_named_by_its_definition(
        self, make: Callable[[Behave], Any]
    ) -> None:
        bench = Bench(make(keeps_until_it_returns))
        await bench.run()
        (fields,) = bench.log.settled()
        assert fields["reason"] == "error"
        assert str(fields["at"]).startswith(__file__)
        assert "coroutine notify was never awaited" in str(fields["detail"])

    async def test_an_error_that_the_handler_raises_comes_first(self) -> None:
        def drops_and_raises() -> None:
            drops()
            raise ValueError("of its own")

        bench = Bench(asynchronously(drops_and_raises))
        await bench.run()
        assert bench.meter.errors == {"ValueError": 1}

    async def test_a_call_that_middleware_repeats_begins_without_it(self) -> None:
        slips: list[Behave] = [drops]

        async def twice(event: Any, ctx: Context, call_next: Next) -> Any:
            with pytest.raises(UnawaitedError):
                await call_next(event, ctx)
            return await call_next(event, ctx)

        bench = Bench(asynchronously(lambda: slips and slips.pop()()), middleware=[twice])
        await bench.run()
        assert bench.outcome == "success"

    async def test_the_transaction_of_a_plain_handler_is_rolled_back(self) -> None:
        ends: list[str] = []

        def transaction() -> Iterator[str]:
            try:
                yield "open"
            except UnawaitedError:
                ends.append("rolled back")
                raise
            ends.append("committed")

        resource = Resource(transaction, "message")
        handler = plain(lambda _, ctx: drops())
        dispatcher = Dispatcher(handler, scope=Scope([Opening(resource)], is_threaded=True))
        with pytest.raises(UnawaitedError):
            await dispatcher.call(Happened(1), Context())
        assert ends == ["rolled back"]
        dispatcher.close()


class TestOthers:
    """Coroutines that are no fault of the handler that runs."""

    async def test_one_that_no_handler_drops_is_reported_by_python(self) -> None:
        await Bench(asynchronously(lambda: None)).run()  # from now on they are noticed
        with pytest.warns(RuntimeWarning, match="notify"):
            drops()

    async def test_one_of_another_task_fails_no_message(self) -> None:
        async def handle(_: Happened, ctx: Context) -> None:
            await asyncio.create_task(forget())

        async def forget() -> None:
            drops()

        bench = Bench(asynchronous(handle))
        with pytest.warns(RuntimeWarning, match="notify"):
            await bench.run()
        assert bench.outcome == "success"

    async def test_one_that_a_library_makes_and_drops_fails_no_message(self) -> None:
        names: dict[str, Any] = {"__name__": "a_library"}
        source = "async def made(): pass\nasync def call():\n  made()\n  kept = made()"
        file = f"{sysconfig.get_path('purelib')}/a_library.py"
        exec(compile(source, file, "exec"), names)  # noqa: S102 - code in a library's file

        async def handle(_: Happened, ctx: Context) -> None:
            await names["call"]()

        bench = Bench(asynchronous(handle))
        with pytest.warns(RuntimeWarning, match="made"):
            await bench.run()
        assert bench.outcome == "success"

    async def test_one_that_the_garbage_collector_finds_fails_no_message(self) -> None:
        def collects() -> None:
            gc.collect()

        cycle: list[Any] = [notify()]
        cycle.append(cycle)
        bench = Bench(asynchronously(collects))
        del cycle
        with pytest.warns(RuntimeWarning, match="notify"):
            await bench.run()
        assert bench.outcome == "success"

    async def test_one_that_is_kept_beyond_the_return_is_found_too_late(self) -> None:
        kept: list[Any] = []
        bench = Bench(asynchronously(lambda: kept.append(notify())))
        await bench.run()
        assert bench.outcome == "success"
        with pytest.warns(RuntimeWarning, match="notify"):
            kept.clear()
