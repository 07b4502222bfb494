"""Extensions: hooks around calls, publishes and outcomes, of the worker and of a handler's class."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from nsqkit import (
    BatchHandler,
    Context,
    Delivery,
    Duplicate,
    Extension,
    Handler,
    HandlerError,
    KillSwitch,
    Next,
    Outcome,
    Publish,
    PublishError,
    Requeue,
    Verdict,
    event,
    resource,
)
from nsqkit.handler.extension import Hooks, NextBatch
from nsqkit.handler.recorder import Recorder
from nsqkit.policy.kill_switch import SwitchState
from nsqkit.policy.verdict import SUCCESS
from nsqkit.testing import Harness
from tests.unit.runtime.bench import NOW_NS, Bench, FakeMessage, delivery, ending


@event("extension.placed", version=1, topic="extended")
@dataclass
class Placed:
    n: int = 0


@event("extension.followed", version=1, topic="extension.followed")
@dataclass
class Followed:
    n: int = 0


JOURNAL: list[Any] = []
TENANT: ContextVar[str] = ContextVar("TENANT", default="")


@pytest.fixture(autouse=True)
def journal() -> list[Any]:
    JOURNAL.clear()
    return JOURNAL


class Noting(Extension):
    """Notes everything under a name."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def around_handle(self, event: Any, ctx: Context, call_next: Next) -> Outcome | Duplicate | None:
        JOURNAL.append(f"{self._name} before")
        outcome = await call_next(event, ctx)
        JOURNAL.append(f"{self._name} after")
        return outcome

    def on_publish(self, publish: Publish) -> None:
        JOURNAL.append(f"{self._name} publishes to {publish.topic}")

    def on_settled(self, ctx: Context, verdict: Verdict, error: BaseException | None) -> None:
        JOURNAL.append(f"{self._name} settled {verdict.label} {ctx.message_id != ''}")


def placing(behave: Callable[[Context], Any] = lambda _: None, **options: Any) -> type[Handler[Placed]]:
    class Place(Handler[Placed], **({"channel": "place", "dead_letters": False} | options)):
        async def handle(self, event: Placed, ctx: Context) -> Outcome | None:
            outcome: Outcome | None = behave(ctx)
            return outcome

    return Place


async def play(kind: Any, *middleware: Any, count: int = 1) -> Harness:
    async with Harness([kind], middleware=middleware) as h:
        for n in range(count):
            await h.publish(Placed(n))
        await h.settle()
    return h


async def test_the_workers_are_outermost_then_those_of_the_base_then_the_classes_own() -> None:
    class Team(Handler[Placed], abstract=True, middleware=[Noting("base")]):
        pass

    class Place(Team, channel="place", middleware=[Noting("own")]):
        async def handle(self, event: Placed, ctx: Context) -> None:
            ctx.publish(Followed())

    await play(Place, Noting("worker"))
    names = ["worker", "base", "own"]
    assert [
        *(f"{name} before" for name in names),
        *(f"{name} publishes to extension.followed" for name in names),
        *(f"{name} after" for name in reversed(names)),
        *(f"{name} settled success True" for name in names),
    ] == JOURNAL


async def test_a_plain_middleware_goes_on_working_beside_them() -> None:
    async def shout(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
        JOURNAL.append("shout")
        return await call_next(event, ctx)

    await play(placing(middleware=[shout]), Noting("worker"))
    assert JOURNAL[:2] == ["worker before", "shout"]


async def test_it_may_answer_instead_of_the_handler() -> None:
    class Refuse(Extension):
        async def around_handle(self, event: Any, ctx: Context, call_next: Next) -> Outcome:
            return Requeue(5)

    def fail(_: Context) -> None:
        raise AssertionError("it was called")

    h = await play(placing(fail), Refuse())
    assert h.requeued(Placed, delay_s=5)


async def test_a_duplicate_is_finished_and_counted_as_one() -> None:
    class Known(Extension):
        async def around_handle(self, event: Any, ctx: Context, call_next: Next) -> Duplicate:
            return Duplicate()

    settled: list[Verdict] = []

    class Last(Extension):
        def on_settled(self, ctx: Context, verdict: Verdict, error: BaseException | None) -> None:
            settled.append(verdict)

    await play(placing(), Known(), Last())
    assert [verdict.label for verdict in settled] == ["duplicate"]


async def test_context_variables_are_seen_by_the_handler_and_by_no_other_message() -> None:
    seen: list[str] = []

    class Tenants(Extension):
        async def around_handle(self, event: Placed, ctx: Context, call_next: Next) -> Outcome | None:
            assert TENANT.get() == ""
            TENANT.set(f"tenant-{event.n}")
            return await call_next(event, ctx)

    await play(placing(lambda _: seen.append(TENANT.get())), Tenants(), count=3)
    assert seen == ["tenant-0", "tenant-1", "tenant-2"]


class Tenant(Extension):
    """Sets a context variable."""

    async def around_handle(self, event: Placed, ctx: Context, call_next: Next) -> Outcome | None:
        TENANT.set(f"tenant-{event.n}")
        return await call_next(event, ctx)


async def test_context_variables_are_seen_in_a_thread() -> None:
    seen: list[str] = []

    class Place(Handler[Placed], channel="place"):
        def handle(self, event: Placed, ctx: Context) -> None:
            seen.append(TENANT.get())

    await play(Place, Tenant())
    assert seen == ["tenant-0"]


@pytest.mark.parametrize("is_plain", [False, True], ids=["on the loop", "in a thread"])
async def test_a_batch_sees_the_context_variables_of_its_first_message(is_plain: bool) -> None:  # noqa: FBT001
    seen: list[str] = []

    class OnLoop(BatchHandler[Placed], channel="batch", max_messages=2, max_wait_s=1):
        async def handle(self, batch: Sequence[Delivery[Placed]]) -> None:
            seen.append(TENANT.get())

    class InThread(BatchHandler[Placed], channel="batch", max_messages=2, max_wait_s=1):
        def handle(self, batch: Sequence[Delivery[Placed]]) -> None:
            seen.append(TENANT.get())

    await play(InThread if is_plain else OnLoop, Tenant(), count=2)
    assert seen == ["tenant-0"]


async def test_what_it_adds_to_the_envelope_is_published() -> None:
    class Correlate(Extension):
        def on_publish(self, publish: Publish) -> None:
            assert publish.ctx is not None
            envelope = publish.ctx.envelope
            assert envelope is not None
            publish.attributes["causationid"] = envelope.id

    bodies: list[Any] = []
    kind = placing(lambda ctx: ctx.publish(Followed(7)))

    class Read(Handler[Followed], channel="read"):
        async def handle(self, event: Followed, ctx: Context) -> None:
            bodies.append(ctx.envelope)

    async with Harness([kind, Read], middleware=[Correlate()]) as h:
        await h.publish(Placed())
        await h.settle()
    ((cause,),) = [[each.extensions["causationid"] for each in bodies]]
    assert len(cause) == 36


async def test_a_message_that_it_keeps_is_not_published() -> None:
    kept: list[Publish] = []

    class Outbox(Extension):
        def on_publish(self, publish: Publish) -> bool:
            kept.append(publish)
            return False

    def behave(ctx: Context) -> None:
        ctx.publish(Followed(1))
        ctx.publish_raw("raw", b"{}")
        assert ctx.outgoing == ()

    h = await play(placing(behave), Outbox())
    assert [(each.event, each.topic, each.body) for each in kept] == [
        (Followed(1), "extension.followed", None),
        (None, "raw", b"{}"),
    ]
    assert not h.published(Followed)


async def test_it_learns_when_nsqd_has_confirmed_and_when_the_handler_has_failed() -> None:
    ends: list[Any] = []

    class Watch(Extension):
        def on_publish(self, publish: Publish) -> None:
            publish.when_done.append(ends.append)

    def behave(ctx: Context) -> Outcome | None:
        ctx.publish(Followed())
        if ctx.attempts == 1:
            raise ValueError("x")
        return Requeue(1) if ctx.attempts == 2 else None

    async with Harness([placing(behave)], middleware=[Watch()]) as h:
        await h.publish(Placed())
        await h.settle(through_delays=True)
    failed, requeued, confirmed = ends
    assert isinstance(failed, ValueError)
    assert isinstance(requeued, PublishError)
    assert "did not succeed" in str(requeued)
    assert confirmed is None


async def test_a_refusal_reaches_the_handler() -> None:
    class Refuse(Extension):
        def on_publish(self, publish: Publish) -> None:
            raise PermissionError("not from here")

    def behave(ctx: Context) -> None:
        with pytest.raises(PermissionError):
            ctx.publish(Followed())
        assert ctx.outgoing == ()

    h = await play(placing(behave), Refuse())
    assert h.handled(Placed)


@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(1), GeneratorExit()], ids=repr)
async def test_an_error_in_on_settled_is_logged_and_changes_nothing(error: BaseException) -> None:
    def fail(*_: Any) -> None:
        raise error

    bench = Bench(ending(None), hooks=[fail, lambda *_: JOURNAL.append("the next one")])
    message = await bench.run()
    assert message.answers == [("FIN",)]
    assert [name for level, name, _ in bench.log.lines if level == "exception"] == ["extension_failed"]
    assert JOURNAL == ["the next one"]


async def test_on_settled_hears_of_what_was_never_handled_too() -> None:
    heard: list[tuple[str, str]] = []
    bench = Bench(ending(None), hooks=[lambda ctx, verdict, _: heard.append((ctx.message_id, verdict.label))])
    await bench.run(b"no JSON")
    assert heard == [("0000000000000001", "dead_letter")]


class Counter:
    """What an extension asks for."""


@resource
async def counter() -> AsyncIterator[Counter]:
    yield Counter()


@resource(per="message")
def session() -> Iterator[str]:
    yield "session"


class Asking(Extension):
    """Asks for a resource of the worker, and uses one of each message."""

    uses = (session,)
    made: list["Asking"] = []  # noqa: RUF012 - of this test

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.made.append(self)

    async def around_handle(self, event: Any, ctx: Context, call_next: Next) -> Outcome | None:
        JOURNAL.append(ctx.resource(session))
        return await call_next(event, ctx)


async def test_a_class_is_made_once_a_worker_with_its_resources() -> None:
    Asking.made.clear()
    first = placing(lambda ctx: JOURNAL.append(ctx.resource(session)), middleware=[Asking])

    class Second(Handler[Placed], channel="second", middleware=[Asking]):
        async def handle(self, event: Placed, ctx: Context) -> None:
            pass

    async with Harness([first, Second]) as h:
        await h.publish(Placed())
        await h.settle()
    (made,) = Asking.made
    assert type(made.counter) is Counter
    assert JOURNAL == ["session"] * 3


def test_a_class_that_asks_for_what_is_not_there_is_told() -> None:
    class Needy(Extension):
        def __init__(self, missing: asyncio.Lock) -> None:
            raise NotImplementedError

    with pytest.raises(HandlerError, match=r"extension .*Needy: no single resource yields Lock"):
        Harness([placing(middleware=[Needy])])


def test_something_else_as_middleware_is_refused_at_the_class() -> None:
    with pytest.raises(HandlerError, match=r"middleware has 5; write middleware=\[MyExtension\(\)\]"):
        placing(middleware=[5])


def test_only_hooks_that_are_overridden_are_kept() -> None:
    class OnlySettled(Extension):
        def on_settled(self, ctx: Context, verdict: Verdict, error: BaseException | None) -> None:
            raise NotImplementedError

    assert Hooks.of([Extension()]) == Hooks()
    only = OnlySettled()
    assert Hooks.of([only]) == Hooks(on_settled=(only.on_settled,))


async def test_one_with_only_on_settled_costs_one_call() -> None:
    def calls(*hooks: Any) -> int:
        bench = Bench(ending(None), hooks=hooks)
        settled = delivery(FakeMessage())
        settled.make_context()
        count = 0

        def profile(_frame: object, what: str, _argument: object) -> None:
            nonlocal count
            count += what in {"call", "c_call"}

        sys.setprofile(profile)
        try:
            bench.settler.settle_now(settled, SUCCESS)
        finally:
            sys.setprofile(None)
        assert bench.outcome == "success"
        return count

    assert calls(lambda *_: None) - calls() == 1


def test_the_raw_body_is_in_the_context() -> None:
    assert json.loads(Context(body=b'{"n": 1}').body) == {"n": 1}


class Off(Noting):
    """Is switched off."""

    @property
    def is_on(self) -> bool:
        return False


async def test_one_that_is_off_is_called_for_nothing() -> None:
    await play(placing(lambda ctx: ctx.publish(Followed())), Off("off"))
    assert JOURNAL == []


class AroundBatch(Noting):
    """Is around whole batches."""

    async def around_batch(self, batch: Sequence[Delivery[Any]], call_next: NextBatch) -> Any:
        JOURNAL.append(f"{self._name} around {len(batch)}")
        return await call_next(batch)


class InBatch(BatchHandler[Placed], channel="batch", max_messages=2, max_wait_s=1):
    async def handle(self, batch: Sequence[Delivery[Placed]]) -> None:
        JOURNAL.append("handled")


async def test_around_batch_is_called_once_for_a_batch_and_around_handle_then_not_at_all() -> None:
    await play(InBatch, AroundBatch("outer"), Noting("each"), AroundBatch("inner"), count=2)
    assert JOURNAL[:5] == ["each before"] * 2 + ["outer around 2", "inner around 2", "handled"]
    assert not {"outer before", "inner before"} & set(JOURNAL)


async def test_around_batch_is_not_called_for_single_messages() -> None:
    await play(placing(), AroundBatch("outer"))
    assert JOURNAL == ["outer before", "outer after", "outer settled success True"]


async def test_an_error_around_a_batch_fails_the_batch() -> None:
    class Refuse(Extension):
        async def around_batch(self, batch: Sequence[Delivery[Any]], call_next: NextBatch) -> Any:
            if len(batch) > 1:
                raise PermissionError("not together")
            return await call_next(batch)

    await play(InBatch, Refuse(), count=2)
    assert JOURNAL == ["handled", "handled"]


async def returning(_: Sequence[Delivery[Any]]) -> str:
    return "returned"


async def test_without_an_override_a_batch_passes_the_base_class() -> None:
    assert await Extension().around_batch((), returning) == "returned"


class Unhandled(Extension):
    """Notes what never reached its handler."""

    def on_unhandled(self, ctx: Context, verdict: Verdict, error: BaseException | None) -> None:
        JOURNAL.append((ctx.message_id, str(verdict.label), type(error).__name__))


async def test_a_message_whose_handler_is_not_called_has_a_hook_of_its_own() -> None:
    extension = Unhandled()
    bench = Bench(ending(None), unhandled=[extension.on_unhandled])
    await bench.run(b"no JSON")
    await bench.run()
    assert JOURNAL == [("0000000000000001", "dead_letter", "DecodeError")]


async def test_one_is_closed_once_when_its_worker_has_ended_before_its_resources() -> None:
    class Closing(Extension):
        async def close(self) -> None:
            JOURNAL.append("closed")

    class Second(Handler[Placed], channel="second"):
        async def handle(self, event: Placed, ctx: Context) -> None:
            pass

    async with Harness([placing(), Second], middleware=[Closing()]):
        assert JOURNAL == []
    assert JOURNAL == ["closed"]


async def test_an_error_in_close_keeps_nothing_else_open() -> None:
    class Failing(Extension):
        async def close(self) -> None:
            raise OSError("away")

    class Closing(Extension):
        async def close(self) -> None:
            JOURNAL.append("closed")

    with pytest.raises(OSError, match="away"):
        async with Harness([placing()], middleware=[Failing(), Closing()]):
            pass
    assert JOURNAL == ["closed"]


class Witness:
    """A recorder that notes everything."""

    log_fields: ClassVar[Mapping[str, str]] = {"note": "n-1"}
    trace_id = "0af7651916cd43dd8448eb211c80319c"

    def settled(self, verdict: Verdict, error: BaseException | None) -> None:
        JOURNAL.append(("settled", str(verdict.label), type(error).__name__))

    def kept(self, reason: str, error: BaseException | None) -> None:
        JOURNAL.append(("kept", str(reason), type(error).__name__))

    def switched(self, state: SwitchState) -> None:
        JOURNAL.append(("switched", str(state)))


class Recording(Extension):
    """Adds a recorder to each message."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def around_handle(self, event: Any, ctx: Context, call_next: Next) -> Outcome | Duplicate | None:
        ctx.recorders += (self._recorder,)
        return await call_next(event, ctx)


async def test_a_recorder_learns_the_outcome_of_its_message_whatever_it_is() -> None:
    def behave(ctx: Context) -> Outcome | None:
        if ctx.attempts == 1:
            raise ValueError("x")
        ctx.publish(Followed())
        return Requeue(1) if ctx.attempts == 2 else None

    await play_through(placing(behave), Recording(Witness()))
    assert JOURNAL == [
        ("settled", "requeue", "ValueError"),
        ("settled", "requeue", "NoneType"),
        ("settled", "success", "NoneType"),
    ]


async def test_a_recorder_learns_of_an_outage() -> None:
    failures = [OSError("away")] * 3

    def behave(_: Context) -> None:
        if failures:
            raise failures.pop()

    switch = KillSwitch(failure_ratio=0.5, min_messages=2, window_s=60, open_s=5, trials=1)
    await play_through(placing(behave, kill_switch=switch, max_in_flight=1), Recording(Witness()), count=2)
    assert JOURNAL == [
        ("settled", "requeue", "OSError"),
        ("switched", "open"),
        ("settled", "requeue", "OSError"),
        ("switched", "open"),
        ("kept", "kill_switch", "OSError"),
        ("switched", "closed"),
        ("settled", "success", "NoneType"),
        ("settled", "success", "NoneType"),
    ]


async def test_the_fields_of_a_recorder_are_in_the_line_with_the_outcome() -> None:
    bench = Bench(ending(None), middleware=[Recording(Witness()).around_handle], log_success=True)
    await bench.run()
    assert [line["note"] for line in bench.log.settled()] == ["n-1"]


async def play_through(kind: Any, *middleware: Any, count: int = 1) -> None:
    async with Harness([kind], middleware=middleware) as h:
        for n in range(count):
            await h.publish(Placed(n))
        await h.settle(through_delays=True)


@pytest.mark.parametrize("fails", [False, True], ids=["of a success", "of a failure"])
async def test_an_error_of_a_recorder_is_logged_and_changes_nothing(fails: bool) -> None:  # noqa: FBT001
    class Broken(Witness):
        def settled(self, verdict: Verdict, error: BaseException | None) -> None:
            raise ZeroDivisionError

    bench = Bench(ending(Requeue(1) if fails else None), middleware=[Recording(Broken()).around_handle])
    message = await bench.run()
    assert message.answers == [("REQ", 1.0) if fails else ("FIN",)]
    assert [name for level, name, _ in bench.log.lines if level == "exception"] == ["extension_failed"]


@pytest.mark.parametrize(
    "ends", [pytest.param(None, id="a success"), pytest.param(ValueError("x"), id="an error")]
)
async def test_the_trace_of_a_recorder_is_the_exemplar_of_the_duration(ends: object) -> None:
    bench = Bench(ending(ends), middleware=[Recording(Witness()).around_handle])
    await bench.run()
    assert bench.meter.exemplars == [(Witness.trace_id, bench.meter.durations[0], NOW_NS / 1e9)]
