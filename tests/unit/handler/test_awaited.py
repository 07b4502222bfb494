"""Awaited: a handle method is awaited if it is asynchronous, whatever is around it."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import msgspec
import pytest

from nsqkit import BatchHandler, Context, DeadLetter, Delivery, Handler, Outcome, event
from nsqkit.handler.awaited import as_coroutine, is_async
from nsqkit.testing import Harness

HANDLED: list[str] = []


@event("test_awaited.asked", version=1, topic="test_awaited")
class Asked(msgspec.Struct, frozen=True):
    id: str


def logged(function: Any) -> Any:
    """A decorator as many teams write it."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


def transactional(function: Any) -> Any:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return call


async def work(name: str) -> Outcome | None:
    await asyncio.sleep(0)  # the method waits, as real ones do
    HANDLED.append(name)
    return None


class Decorated(Handler[Asked], channel="decorated"):
    @logged
    async def handle(self, event: Asked, ctx: Context) -> None:
        await work("Decorated")


class Twice(Handler[Asked], channel="twice"):
    @logged
    @transactional
    async def handle(self, event: Asked, ctx: Context) -> None:
        await work("Twice")


class Annotated(Handler[Asked], channel="annotated"):
    def handle(self, event: Asked, ctx: Context) -> Awaitable[Outcome | None]:
        return work("Annotated")


class Task(Handler[Asked], channel="task"):
    def handle(self, event: Asked, ctx: Context) -> "asyncio.Task[Outcome | None]":
        return asyncio.create_task(work("Task"))


class Unsaid(Handler[Asked], channel="unsaid"):
    def handle(self, event: Asked, ctx: Context):  # type: ignore[no-untyped-def]  # noqa: ANN201 - as teams write it
        return work("Unsaid")


class UnsaidOnLoop(Handler[Asked], channel="unsaid_on_loop", run_on_loop=True):
    def handle(self, event: Asked, ctx: Context):  # type: ignore[no-untyped-def]  # noqa: ANN201 - same
        return work("UnsaidOnLoop")


class Plain(Handler[Asked], channel="plain"):
    @logged
    def handle(self, event: Asked, ctx: Context) -> None:
        HANDLED.append("Plain")


class Batch(BatchHandler[Asked], channel="batch", max_wait_s=0.1):
    @logged
    async def handle(self, batch: Sequence[Delivery[Asked]]) -> None:
        await work("Batch")


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (Decorated, True),
        (Twice, True),
        (Annotated, True),
        (Task, True),
        (Batch, True),
        (Plain, False),
        (Unsaid, False),
    ],
)
def test_a_handler_is_asynchronous_as_its_method_is(handler: Any, *, expected: bool) -> None:
    assert is_async(handler.handle) is handler.spec.is_async is expected


def test_an_annotation_that_cannot_be_read_says_nothing() -> None:
    def handle() -> "Missing": ...  # type: ignore[name-defined]  # noqa: F821 - it is missing

    assert not is_async(handle)


@pytest.mark.parametrize("handler", [Decorated, Twice, Annotated, Task, Unsaid, UnsaidOnLoop, Plain, Batch])
def test_what_a_method_returns_is_awaited(handler: Any, harness: Callable[..., Harness]) -> None:
    HANDLED.clear()

    async def run() -> None:
        async with harness([handler]) as h:
            await h.publish(Asked("1"))
            await h.settle()
            h.handled(Asked("1")).once()

    asyncio.run(run())
    assert [handler.__name__] == HANDLED


class Refusing(Handler[Asked], channel="refusing"):
    def handle(self, event: Asked, ctx: Context):  # type: ignore[no-untyped-def]  # noqa: ANN201 - same
        return self._refuse()

    async def _refuse(self) -> Outcome:
        return DeadLetter("no")


def test_an_awaited_outcome_counts(harness: Callable[..., Harness]) -> None:
    async def run() -> None:
        async with harness([Refusing]) as h:
            await h.publish(Asked("1"))
            await h.settle()
            h.dead_lettered(Asked("1"), reason="requested").once()

    asyncio.run(run())


def test_a_coroutine_function_is_called_as_it_is() -> None:
    async def handle() -> None: ...

    called: Callable[..., Coroutine[Any, Any, Any]] = as_coroutine(handle)
    assert called is handle
