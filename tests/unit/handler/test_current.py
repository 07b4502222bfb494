"""Current: code that a handler calls or starts finds the handler's message, and no other."""

import asyncio
import contextvars
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nsqkit import BatchHandler, Context, Extension, Outcome, Requeue
from nsqkit.handler.current import CURRENT, NO_MESSAGE, log_fields, without_message
from tests.unit.runtime.bench import Bench, Happened, asynchronous, plain
from tests.waiting import turns

IDS = ["0000000000000001", "0000000000000002", "0000000000000003"]


class Seen:
    """Notes the ids of messages, as the code that calls it finds them."""

    def __init__(self) -> None:
        self.ids: list[Any] = []

    def __call__(self) -> None:
        self.ids.append(log_fields().get("message_id"))


async def handled(handler: Any, count: int = 3, **options: Any) -> Bench:
    """Run messages that arrive together, and return when all are settled."""
    bench = Bench(handler, **options)
    bench.receive_chunk(*(bench.message(b'{"n": %d}' % n) for n in range(count)))
    await bench.idle()
    return bench


async def test_outside_of_a_handler_there_are_no_fields() -> None:
    await handled(asynchronous(lambda _event, _ctx: asyncio.sleep(0, None)))  # a turn of the loop
    assert log_fields() == {}


async def test_the_fields_are_those_of_the_message() -> None:
    found: list[dict[str, Any]] = []

    async def note(_event: Happened, _ctx: Context) -> None:
        found.append(log_fields())

    bench = Bench(asynchronous(note))
    envelope = {"specversion": "1.0", "type": "bench.happened.v1", "source": "s", "id": "e-1"}
    await bench.run(json.dumps({**envelope, "data": {"n": 1}}).encode(), attempts=2)
    assert found == [
        {
            "request_id": "e-1",
            "event_id": "e-1",
            "message_id": IDS[0],
            "topic": "consumed",
            "channel": "work",
            "handler": "Scripted",
            "action": "bench.happened.v1",
            "attempts": 2,
        }
    ]


async def test_each_message_of_a_chunk_has_its_own() -> None:
    seen = Seen()

    async def note(_event: Happened, _ctx: Context) -> None:
        seen()

    await handled(asynchronous(note))
    assert seen.ids == IDS


async def test_it_stays_while_other_messages_are_handled() -> None:
    seen = Seen()

    async def note(event: Happened, _ctx: Context) -> None:
        await turns(3 - event.n)
        seen()

    await handled(asynchronous(note))
    assert seen.ids == IDS[::-1]


async def test_a_task_that_outlives_its_message_keeps_it() -> None:
    seen, go_on = Seen(), asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def later() -> None:
        await go_on.wait()
        seen()

    async def start(_event: Happened, _ctx: Context) -> None:
        tasks.append(asyncio.create_task(later()))

    await handled(asynchronous(start))
    go_on.set()
    await asyncio.gather(*tasks)
    assert seen.ids == IDS


async def test_threads_of_a_plain_handler_have_it() -> None:
    seen = Seen()

    def note(_event: Happened, _ctx: Context) -> None:
        seen()

    await handled(plain(note), slots=1, most=3)
    assert seen.ids == IDS


async def test_threads_that_a_handler_calls_have_it() -> None:
    seen = Seen()

    async def note(_event: Happened, _ctx: Context) -> None:
        await asyncio.to_thread(seen)

    await handled(asynchronous(note))
    assert sorted(seen.ids) == IDS


async def test_reading_the_fields_in_another_thread_changes_nothing() -> None:
    """A delivery is made by the event loop alone, so that there are never two of a message."""

    async def note(_event: Happened, ctx: Context) -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(log_fields,))
        thread.start()
        thread.join()
        with pytest.raises(AttributeError):
            object.__getattribute__(ctx, "delivery")

    bench = await handled(asynchronous(note), 1)
    assert bench.outcome == "success"


async def test_a_layer_around_the_handler_has_it() -> None:
    seen = Seen()

    class Layer(Extension):
        async def around_handle(self, event: Any, ctx: Context, call_next: Any) -> Any:
            seen()
            return await call_next(event, ctx)

    async def nothing(_event: Happened, _ctx: Context) -> None:
        return None

    await handled(asynchronous(nothing), middleware=[Layer().around_handle])
    assert seen.ids == IDS


async def test_a_message_that_waits_for_its_turn_has_it() -> None:
    seen = Seen()

    async def note(_event: Happened, _ctx: Context) -> Outcome | None:
        await turns()
        seen()
        return Requeue()

    await handled(asynchronous(note), slots=1)
    assert seen.ids == IDS


def batching(behave: Callable[[], Awaitable[None]]) -> BatchHandler[Happened]:
    class Scripted(BatchHandler[Happened], channel="work", max_messages=3, max_wait_s=1):
        async def handle(self, batch: Any) -> None:
            await behave()

    return Scripted()


async def test_a_batch_has_what_its_messages_have_in_common_and_their_number() -> None:
    found: list[dict[str, Any]] = []

    async def note() -> None:
        found.append(log_fields())

    await handled(batching(note))
    assert found == [{"topic": "consumed", "channel": "work", "handler": "Scripted", "messages": 3}]


async def test_a_message_of_a_failed_batch_is_handled_alone_and_has_its_own() -> None:
    seen = Seen()

    async def fail() -> None:
        seen()
        raise ValueError

    await handled(batching(fail))
    assert seen.ids == [None, *IDS]


def test_a_context_with_a_message_equals_one_without_but_not_one_with_another_change() -> None:
    before = without_message()
    other: contextvars.ContextVar[int] = contextvars.ContextVar("other", default=0)
    context = before.copy()
    context.run(CURRENT.set, Context())
    assert context == before
    context.run(other.set, 1)
    assert context != before


def test_a_timer_that_outlives_a_message_does_not_keep_it() -> None:
    token = CURRENT.set(Context())
    try:
        assert without_message()[CURRENT] is NO_MESSAGE
    finally:
        CURRENT.reset(token)
