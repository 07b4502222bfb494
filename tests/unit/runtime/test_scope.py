"""Scope: resources of a message are open during its call, and learn how it ended before it is settled."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from nsqkit import (
    BatchHandler,
    Context,
    DeadLetter,
    Delivery,
    Exponential,
    Handler,
    HandlerError,
    Outcome,
    Requeue,
    RetryPolicy,
    Settings,
    event,
    resource,
)
from nsqkit.handler.resources import Resource
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.scope import Opening, Scope
from nsqkit.testing import Harness
from tests.waiting import PATIENCE_S, until

JOURNAL: list[Any] = []


@event("scope.happened", version=1, topic="scoped")
@dataclass
class Happened:
    n: int = 0


class Engine:
    """What lives as long as the worker."""


@resource
def engine() -> Iterator[Engine]:
    JOURNAL.append("engine opened")
    yield Engine()
    JOURNAL.append("engine closed")


@dataclass(eq=False)
class Connection:
    engine: Engine
    thread: int


@dataclass(eq=False)
class Session:
    connection: Connection


@resource(per="message")
async def connection(engine: Engine) -> AsyncIterator[Connection]:
    yield Connection(engine, threading.get_ident())
    JOURNAL.append("connection closed")


@resource(per="message")
async def session(connection: Connection) -> AsyncIterator[Session]:
    JOURNAL.append("begin")
    try:
        verdict: Any = yield Session(connection)
    except BaseException as error:
        JOURNAL.append(f"rollback {type(error).__name__}")
        raise
    JOURNAL.append(f"commit {verdict.label}")


@resource(per="message")
def plain_session(engine: Engine) -> Iterator[Connection]:
    try:
        verdict: Any = yield Connection(engine, threading.get_ident())
    except BaseException as error:
        JOURNAL.append(f"rollback {type(error).__name__} in {_place()}")
        raise
    JOURNAL.append(f"commit {verdict.label} in {_place()}")


@resource(per="thread")
def local() -> Iterator[Connection]:
    JOURNAL.append(f"local opened in {_place()}")
    yield Connection(Engine(), threading.get_ident())
    JOURNAL.append(f"local closed in {_place()}")


@resource(per="message")
async def unclosable() -> AsyncIterator[str]:
    yield "open"
    raise OSError("the commit failed")


@resource(per="message")
async def endless() -> AsyncIterator[str]:
    await asyncio.Event().wait()
    yield "never"


@resource(per="message")
async def twice() -> AsyncIterator[str]:
    yield "once"
    yield "again"


def _place() -> str:
    return "the loop" if threading.current_thread() is threading.main_thread() else "a thread"


@pytest.fixture(autouse=True)
def journal() -> list[Any]:
    JOURNAL.clear()
    return JOURNAL


Behave = Callable[[Context], Any]
QUICK = RetryPolicy(max_attempts=1, backoff=Exponential(base_s=1, jitter="none"))


def on_loop(behave: Behave, *uses: Resource[Any], **options: Any) -> type[Handler[Happened]]:
    class Work(Handler[Happened], channel="work", uses=uses, **({"retry": QUICK} | options)):
        async def handle(self, event: Happened, ctx: Context) -> Outcome | None:
            outcome: Outcome | None = behave(ctx)
            return outcome

    return Work


def in_thread(behave: Behave, *uses: Resource[Any], **options: Any) -> type[Handler[Happened]]:
    class Work(Handler[Happened], channel="work", uses=uses, **({"retry": QUICK} | options)):
        def handle(self, event: Happened, ctx: Context) -> Outcome | None:
            outcome: Outcome | None = behave(ctx)
            return outcome

    return Work


async def run(kind: type[Handler[Happened]], count: int = 1) -> Harness:
    async with Harness([kind], settings=Settings(threads=1)) as h:
        for n in range(count):
            await h.publish(Happened(n))
        await h.settle()
    return h


def fail(error: BaseException) -> Behave:
    def behave(_: Context) -> None:
        raise error

    return behave


async def test_it_is_open_during_the_call_with_all_that_it_needs() -> None:
    seen: list[Session] = []
    await run(on_loop(lambda ctx: seen.append(ctx.resource(session)), session), 2)
    assert len({id(each) for each in seen}) == 2
    assert len({id(each.connection.engine) for each in seen}) == 1
    once = ["begin", "commit success", "connection closed"]
    assert ["engine opened", *once, *once, "engine closed"] == JOURNAL


@pytest.mark.parametrize(
    ("behave", "expected"),
    [
        pytest.param(lambda _: None, "commit success", id="a return is a success"),
        pytest.param(lambda _: Requeue(5), "commit dead_letter", id="an outcome is its verdict"),
        pytest.param(lambda _: DeadLetter("no"), "commit dead_letter", id="a dead letter"),
        pytest.param(fail(ValueError("x")), "rollback ValueError", id="a failure is raised at the yield"),
        pytest.param(fail(SystemExit(3)), "rollback SystemExit", id="even one that would end the process"),
        pytest.param(lambda _: 5, "rollback TypeError", id="no outcome at all"),
    ],
)
async def test_it_learns_how_the_call_ended(behave: Behave, expected: str) -> None:
    await run(on_loop(behave, session))
    assert expected in JOURNAL


async def test_a_timeout_is_raised_at_the_yield() -> None:
    class Slow(Handler[Happened], channel="work", uses=[session], timeout_s=1, retry=QUICK):
        async def handle(self, event: Happened, ctx: Context) -> None:
            await asyncio.Event().wait()

    h = await run(Slow)
    assert "rollback HandlerTimeoutError" in JOURNAL
    assert h.dead_lettered(Happened, reason="exhausted")


async def test_an_error_in_closing_fails_the_message_and_the_others_are_closed() -> None:
    h = await run(on_loop(lambda _: None, session, unclosable))
    assert "rollback OSError" in JOURNAL
    assert "connection closed" not in JOURNAL  # its yield raised, too
    assert h.dead_lettered(Happened, reason="exhausted")


async def test_one_that_never_opens_fails_its_message_in_time() -> None:
    h = await run(on_loop(lambda _: None, session, endless, timeout_s=2))
    assert "rollback HandlerTimeoutError" in JOURNAL
    assert h.dead_lettered(Happened, reason="exhausted")


async def test_one_that_yields_twice_fails_its_message() -> None:
    h = await run(on_loop(lambda _: None, twice))
    assert h.dead_lettered(Happened, reason="exhausted")


async def test_a_plain_one_of_a_plain_handler_lives_in_its_thread() -> None:
    threads: list[tuple[int, int]] = []

    def behave(ctx: Context) -> None:
        threads.append((ctx.resource(plain_session).thread, threading.get_ident()))

    await run(in_thread(behave, plain_session))
    ((opened, called),) = threads
    assert opened == called != threading.get_ident()
    assert "commit success in a thread" in JOURNAL


async def test_a_plain_one_of_an_async_handler_lives_on_the_loop() -> None:
    await run(on_loop(fail(ValueError("x")), plain_session))
    assert "rollback ValueError in the loop" in JOURNAL


async def test_an_async_one_of_a_plain_handler_lives_on_the_loop() -> None:
    threads: list[int] = []
    await run(in_thread(lambda ctx: threads.append(ctx.resource(session).connection.thread), session))
    assert threads == [threading.get_ident()]


async def test_one_per_thread_is_opened_once_in_each_and_closed_at_its_end() -> None:
    seen: list[Connection] = []
    kind = in_thread(lambda ctx: seen.append(ctx.resource(local)), local)
    await run(kind, 3)
    assert len({id(each) for each in seen}) == 1
    assert JOURNAL == ["local opened in a thread", "local closed in a thread"]


async def test_one_per_thread_that_cannot_be_closed_keeps_no_other_from_closing() -> None:
    @resource(per="thread")
    def unclosable() -> Iterator[str]:
        yield "text"
        raise OSError("cannot close")

    await run(in_thread(lambda _: None, local, unclosable))
    assert JOURNAL == ["local opened in a thread", "local closed in a thread"]


async def test_a_thread_left_behind_is_refused_what_is_closed_and_closes_its_own_at_its_end() -> None:
    inside, leave = threading.Event(), threading.Event()

    @resource(per="message")
    async def brief() -> AsyncIterator[str]:
        yield "open"

    def hang(ctx: Context) -> None:
        JOURNAL.append(ctx.resource(brief))
        inside.set()
        leave.wait(PATIENCE_S)
        with pytest.raises(LookupError) as refused:
            ctx.resource(brief)
        JOURNAL.append(str(refused.value))

    scope = Scope([Opening(local), Opening(brief)], is_threaded=True)
    dispatcher = Dispatcher(in_thread(hang)(), scope=scope)
    call = asyncio.create_task(dispatcher.call(Happened(), Context()))
    await asyncio.to_thread(inside.wait, PATIENCE_S)
    dispatcher.close()
    call.cancel()
    await asyncio.wait((call,))
    leave.set()
    await until(lambda: len(JOURNAL) == 4)
    assert JOURNAL == [
        "local opened in a thread",
        "open",
        "resource brief is closed: the call of the handler has ended",
        "local closed in a thread",
    ]


async def test_a_batch_has_one_for_each_call() -> None:
    seen: list[list[Session]] = []

    class Totals(BatchHandler[Happened], channel="totals", max_messages=3, max_wait_s=1, uses=[session]):
        async def handle(self, batch: Sequence[Delivery[Happened]]) -> None:
            seen.append([delivery.ctx.resource(session) for delivery in batch])

    async with Harness([Totals]) as h:
        for n in range(3):
            await h.publish(Happened(n))
        await h.settle()
    ((first, *others),) = seen
    assert all(each is first for each in others)
    assert JOURNAL.count("commit success") == 1


async def test_the_messages_of_a_failed_batch_have_one_each() -> None:
    class Totals(BatchHandler[Happened], channel="totals", max_messages=2, max_wait_s=1, uses=[session]):
        async def handle(self, batch: Sequence[Delivery[Happened]]) -> None:
            if len(batch) > 1:
                raise ValueError("together they fail")

    async with Harness([Totals]) as h:
        for n in range(2):
            await h.publish(Happened(n))
        await h.settle()
    assert [line for line in JOURNAL if line.startswith(("commit", "rollback"))] == [
        "rollback ValueError",
        "commit success",
        "commit success",
    ]


@pytest.mark.parametrize("make", [on_loop, in_thread])
async def test_after_the_call_it_cannot_be_had_any_more(make: Any) -> None:
    contexts: list[Context] = []
    await run(make(contexts.append, session, plain_session))
    with pytest.raises(LookupError):
        contexts[0].resource(session)
    with pytest.raises(LookupError):
        contexts[0].resource(plain_session)


@resource(per="message")
def transaction(local: Connection) -> Iterator[str]:
    yield f"on the connection of {'its' if local.thread == threading.get_ident() else 'another'} thread"


@resource(per="message")
async def misplaced(local: Connection) -> AsyncIterator[str]:
    yield "never"


async def test_one_of_a_message_may_need_one_of_its_thread() -> None:
    seen: list[str] = []
    await run(in_thread(lambda ctx: seen.append(ctx.resource(transaction)), local, transaction), 2)
    assert seen == ["on the connection of its thread"] * 2
    assert JOURNAL.count("local opened in a thread") == 1


def test_one_on_the_loop_cannot_need_one_of_a_thread() -> None:
    with pytest.raises(HandlerError, match="per thread, and resource misplaced runs on the event loop"):
        Harness([in_thread(lambda _: None, misplaced)])


def test_a_thread_resource_of_an_async_handler_is_refused() -> None:
    with pytest.raises(HandlerError, match="per thread, and the handler runs on the event loop"):
        Harness([on_loop(lambda _: None, local)])


def test_a_resource_of_the_worker_is_not_used_per_message() -> None:
    with pytest.raises(HandlerError, match=r"uses has .*; write uses=\["):
        on_loop(lambda _: None, engine)


def test_an_async_one_cannot_be_per_thread() -> None:
    with pytest.raises(HandlerError, match='per="thread" is for a plain generator function'):

        @resource(per="thread")
        async def wrong() -> AsyncIterator[str]:
            yield "never"


def test_init_cannot_ask_for_one_of_a_message() -> None:
    class Asks(Handler[Happened], channel="work"):
        def __init__(self, session: Session) -> None:
            raise NotImplementedError

        async def handle(self, event: Happened, ctx: Context) -> None:
            raise NotImplementedError

    with pytest.raises(HandlerError, match="resource session is per message; name it in the handler"):
        Harness([Asks])


def test_a_class_adds_its_own_to_those_of_its_base() -> None:
    class Team(Handler[Happened], abstract=True, uses=[session]):
        pass

    class Work(Team, channel="work", uses=[plain_session]):
        async def handle(self, event: Happened, ctx: Context) -> None:
            raise NotImplementedError

    assert Work.spec.uses == (session, plain_session)
