"""Threads: what runs in threads, what waits for one, and how those that end are finished."""

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit import Context, DeadLetter, Discard, Finish, Handler, Next, Outcome, RateLimit, Requeue
from nsqkit.handler.resources import Resource
from nsqkit.policy.verdict import RequeueReason, Rules, Verdict
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.pool import Pool, PoolThread
from nsqkit.runtime.scope import Opening, Scope
from nsqkit.runtime.thread_call import AwaitedCall
from nsqkit.testing.clock import VirtualClock
from tests.unit.runtime.bench import (
    NOW_NS,
    POLICY,
    Bench,
    FakeMessage,
    Happened,
    asynchronous,
    passed,
    plain,
    timers,
    until,
)
from tests.unit.runtime.test_receive import BEHAVIOURS, Scenario, steps
from tests.waiting import PATIENCE_S, turns, until_blocking

FIN = [("FIN",)]
SUSPECT = 6


class Script:
    """A plain handler's behaviour: it notes what it starts, and keeps its thread where it is told to.

    Args:
        keeps: Numbers of the events that keep their thread until they are let out.
        others: What the calls of other events do, by ``n`` and the number: return or raise it.
    """

    def __init__(self, *keeps: int, **others: object) -> None:
        self.started: list[int] = []
        self.contexts: dict[int, Context] = {}
        self._keeps = keeps
        self._out = {n: threading.Event() for n in keeps}
        self._others = {int(key.removeprefix("n")): value for key, value in others.items()}

    def __call__(self, event: Happened, ctx: Context) -> Any:
        self.contexts[event.n] = ctx
        self.started.append(event.n)
        if event.n in self._keeps:
            assert self._out[event.n].wait(PATIENCE_S)
        other = self._others.get(event.n)
        if isinstance(other, BaseException):
            raise other
        return other(ctx) if callable(other) else other

    def let_out(self, *numbers: int) -> None:
        for n in numbers or self._keeps:
            self._out[n].set()

    async def starts(self, *numbers: int) -> None:
        await until(lambda: self.started == list(numbers))


class Queue:
    """A bench whose handler has few threads and room for many messages."""

    def __init__(self, script: Script, *, threads: int = 1, spec: Any = None, **options: Any) -> None:
        self.script = script
        self.bench = Bench(plain(script, **(spec or {})), slots=threads, most=100, **options)
        self.bench.slots.spread(100.0)

    @property
    def pool(self) -> Pool:
        assert isinstance(self.bench.dispatcher, Dispatcher)
        assert self.bench.dispatcher.pool is not None
        return self.bench.dispatcher.pool

    def receive(self, *numbers: int, **options: Any) -> list[FakeMessage]:
        messages = [self.bench.message(b'{"n": %d}' % n, **options) for n in numbers]
        if messages:
            self.bench.receive_chunk(*messages)
        return messages

    def end(self) -> None:
        """Let everything go on, and wait until the threads have nothing to do, while the loop is blocked."""
        self.script.let_out()
        until_blocking(lambda: len(self.pool._idle) == len(self.pool._threads))


@pytest.fixture
async def make() -> AsyncIterator[Any]:
    """Make a queue whose first message, number 0, keeps the only thread; let out all threads at the end."""
    queues: list[Queue] = []

    async def make(*numbers: int, script: Script | None = None, **options: Any) -> Any:
        queue = Queue(script or Script(0), **options)
        queues.append(queue)
        first = queue.receive(0)
        await queue.script.starts(0)
        return queue, (*first, *queue.receive(*numbers))

    yield make
    for queue in queues:
        queue.script.let_out()


async def waits(queue: Queue, count: int) -> None:
    """Let so many messages wait for a thread."""
    await until(lambda: len(queue.pool._calls) == count)


class TestTogether:
    async def test_a_chunk_is_handled_without_a_task_or_a_future_for_each_message(self) -> None:
        loop = asyncio.get_running_loop()
        made: list[str] = []
        future = loop.create_future

        def make_task(loop: asyncio.AbstractEventLoop, run: Any, **options: Any) -> "asyncio.Task[Any]":
            made.append("task")
            return asyncio.Task(run, loop=loop, **options)

        def make_future() -> "asyncio.Future[Any]":
            made.append("future")
            return future()

        queue = Queue(Script())
        loop.set_task_factory(make_task)
        loop.create_future = make_future  # type: ignore[method-assign]
        try:
            queue.receive(*range(50))
            await turns(3)
            queue.end()
            await turns(3)
        finally:
            loop.set_task_factory(None)
            loop.create_future = future  # type: ignore[method-assign]
        assert queue.bench.meter.outcomes == {"success": 50}
        assert made == ["task"], "for the chunk"

    async def test_those_that_end_together_are_finished_by_one_command_for_each_connection(
        self, make: Any
    ) -> None:
        queue, _ = await make()
        first, second = queue.receive(1, 2), queue.receive(3, 4, 5)
        await waits(queue, 5)
        queue.end()
        await queue.bench.idle()
        links: list[Any] = [messages[0].link for messages in (first, second)]
        assert [link.finished for link in links] == [
            [[message.id for message in messages]] for messages in (first, second)
        ]
        assert queue.bench.meter.outcomes == {"success": 6}
        assert len(queue.bench.meter.ages) == len(queue.bench.meter.durations) == 6
        assert len(queue.bench.waits) == 6

    async def test_over_a_lost_connection_all_have_lost_their_lease(self, make: Any) -> None:
        queue, messages = await make(1, 2)
        await waits(queue, 2)
        for message in messages:
            message.is_connected = False
        queue.end()
        await queue.bench.idle()
        assert queue.bench.meter.outcomes == {"lease_lost": 3}
        assert len(queue.bench.meter.ages) == len(queue.bench.meter.durations) == 3
        assert all(message.is_forgotten for message in messages)

    async def test_each_has_context_variables_of_its_own(self) -> None:
        who: contextvars.ContextVar[int] = contextvars.ContextVar("who", default=-1)
        found: list[int] = []

        def swap(event: Happened, ctx: Context) -> None:
            found.append(who.get())
            who.set(event.n)

        bench = Bench(plain(swap), slots=1)
        for n in range(3):
            await bench.run(b'{"n": %d}' % n)
        assert found == [-1, -1, -1]

    async def test_nothing_of_a_message_is_left_behind(self) -> None:
        seen: list[weakref.ref[Happened]] = []
        bench = Bench(plain(lambda event, _: seen.append(weakref.ref(event))))
        gc.collect()
        gc.disable()
        try:
            await bench.run()
            await bench.run()  # the thread has gone on
            assert seen[0]() is None
        finally:
            gc.enable()


class TestOneNeedsMore:
    """A call that is no plain success goes on by itself; those beside it are finished together."""

    @pytest.mark.parametrize(
        ("second", "answer"),
        [
            pytest.param(None, ("FIN",), id="nothing more"),
            pytest.param(Finish(), ("FIN",), id="a plain success by name"),
            pytest.param(Requeue(7), ("REQ", 7), id="an outcome"),
            pytest.param(Discard("old"), ("FIN",), id="an outcome that finishes"),
            pytest.param(DeadLetter("bad"), ("FIN",), id="a dead letter"),
            pytest.param(ValueError("x"), ("REQ", 2.0), id="an error"),
            pytest.param(SystemExit(2), ("REQ", 2.0), id="the end of the process"),
            pytest.param(asyncio.CancelledError(), ("REQ", 2.0), id="a cancellation of its own"),
            pytest.param("nonsense", ("REQ", 2.0), id="a value that is no outcome"),
        ],
    )
    async def test_it_gets_its_own_answer(self, make: Any, second: object, answer: tuple[Any, ...]) -> None:
        queue, messages = await make(1, 2, 3, script=Script(0, n2=second))
        await waits(queue, 3)
        queue.end()
        await queue.bench.idle()
        assert [message.answers for message in messages] == [FIN, FIN, [answer], FIN]
        assert len(queue.bench.meter.ages) == len(queue.bench.meter.durations) == 4

    async def test_what_it_publishes_leaves_before_its_message_is_finished(self, make: Any) -> None:
        queue, _ = await make(1, script=Script(0, n1=lambda ctx: ctx.publish_raw("next", b"x")))
        queue.end()
        await queue.bench.idle()
        journal = queue.bench.journal
        assert journal.index(("confirmed", "next")) < len(journal) - 1 - journal[::-1].index(("FIN",))
        assert queue.bench.meter.outcomes == {"success": 2}

    async def test_a_body_that_cannot_be_read_never_meets_a_thread(self, make: Any) -> None:
        queue, _ = await make(1)
        queue.bench.receive(b"nonsense")
        queue.receive(2)
        await until(lambda: queue.bench.meter.outcomes == {"dead_letter": 1})
        queue.end()
        await queue.bench.idle()
        assert queue.bench.meter.outcomes == {"dead_letter": 1, "success": 3}
        assert len(queue.bench.meter.ages) == 4

    async def test_a_message_that_has_expired_never_meets_a_thread(self) -> None:
        queue = Queue(Script(), rules=Rules(POLICY, max_age_s=60, on_expired="discard"))
        queue.receive(1)
        queue.receive(2, timestamp_ns=NOW_NS - 61 * 10**9)
        queue.receive(3)
        await queue.bench.idle()
        assert queue.script.started == [1, 3]
        assert queue.bench.meter.outcomes == {"success": 2, "discard": 1}
        assert sorted(queue.bench.meter.ages) == [0.0, 0.0, 61.0]

    async def test_whoever_is_told_of_outcomes_is_told_of_each(self) -> None:
        seen: list[str] = []

        def hook(ctx: Context, verdict: Verdict, error: BaseException | None) -> None:
            seen.append(ctx.message_id)

        queue = Queue(Script(), is_observed=True, hooks=[hook])
        messages = queue.receive(1, 2, 3)
        await queue.bench.idle()
        assert [delivery.message for delivery, _, _ in queue.bench.told] == messages
        assert seen == [message.id.decode() for message in messages]
        assert [message.answers for message in messages] == [FIN] * 3

    async def test_without_a_thread_the_messages_fail(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(PoolThread, "start", refuse)
        queue = Queue(Script())
        messages = queue.receive(1, 2)
        await queue.bench.idle()
        assert [message.answers for message in messages] == [[("REQ", 2.0)]] * 2
        assert [line["detail"] for line in queue.bench.log.settled()] == [
            "RuntimeError: can't start new thread"
        ] * 2
        assert (queue.bench.meter.durations, queue.bench.waits) == ([], [])


class TestWithATask:
    """Calls that need the event loop around them have a task each, and none waits for a thread."""

    @pytest.mark.parametrize("uses", ["middleware", "a resource of the loop"])
    async def test_their_handler_has_no_queue(self, uses: str) -> None:
        async def layer(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            return await call_next(event, ctx)

        async def opened() -> AsyncIterator[str]:
            yield "open"

        scope = Scope([Opening(Resource(opened, "message"))], is_threaded=True)
        options: Any = {"middleware": [layer]} if uses == "middleware" else {"scope": scope}
        dispatcher = Dispatcher(plain(Script()), **options)
        assert dispatcher.pool is None
        assert await dispatcher.call(Happened(1), Context()) == Finish()
        dispatcher.close()

    @pytest.mark.parametrize("handler", [asynchronous(Script()), plain(Script(), run_on_loop=True)])
    async def test_nor_has_one_that_runs_on_the_loop(self, handler: Handler[Happened]) -> None:
        assert Dispatcher(handler).pool is None

    async def test_plain_resources_are_opened_in_the_thread(self) -> None:
        def opened() -> Iterator[str]:
            yield threading.current_thread().name

        resource = Resource(opened, "message")
        seen: list[str] = []
        handler = plain(lambda _, ctx: seen.append(ctx.resource(resource)))
        dispatcher = Dispatcher(handler, scope=Scope([Opening(resource)], is_threaded=True))
        assert dispatcher.pool is not None
        await dispatcher.call(Happened(1), Context())
        assert seen == ["Scripted_0"]
        dispatcher.close()


class TestInFlight:
    """How many messages wait for a thread follows from the time that calls take."""

    async def test_at_first_no_message_waits_and_then_as_many_as_short_calls_allow(self) -> None:
        bench = Bench(plain(Script()), slots=2, most=50)
        assert bench.slots.limit == 2
        await bench.run()
        assert (bench.slots.limit, bench.sizes) == (50, [50]), "the clock stands still: it took no time"

    async def test_long_calls_let_no_more_than_one_message_wait_for_each_thread(self) -> None:
        def take(event: Happened, ctx: Context) -> None:
            bench.clock.s += 0.002

        bench = Bench(plain(take), slots=4, most=50)
        await bench.run()
        assert bench.sizes == [8]

    async def test_what_finds_no_room_waits_and_starts_in_order(self, make: Any) -> None:
        queue, _ = await make(*range(1, 4))
        queue.bench.slots.spread(2.0)
        queue.receive(*range(4, 8))
        await turns(3)
        assert (len(queue.pool._calls), queue.bench.intake.held) == (1, 8)
        queue.script.let_out()
        await queue.bench.idle()
        assert queue.script.started == list(range(8))

    async def test_a_rate_limit_holds_for_threads_too(self, hours: VirtualClock) -> None:
        queue = Queue(Script(), spec={"rate_limit": RateLimit(0.1)}, now_s=hours.now_s)
        queue.receive(0, 1, 2)
        await queue.script.starts(0)
        for n in (1, 2):
            await passed(hours, 9.0)
            assert len(queue.script.started) == n
            await passed(hours, 1.0)
            await until(lambda n=n: len(queue.script.started) == n + 1)  # type: ignore[misc]
        await queue.bench.idle()


class TestTimes:
    """What is measured, and limited, counts from the start in the thread."""

    async def test_the_time_in_the_queue_is_no_part_of_the_duration(
        self, make: Any, hours: VirtualClock
    ) -> None:
        queue, _ = await make(1, now_s=hours.now_s)
        await waits(queue, 1)
        await passed(hours, 20.0)
        queue.end()
        await queue.bench.idle()
        assert (queue.bench.meter.durations, queue.bench.waits) == ([20.0, 0.0], [0.0, 20.0])

    async def test_nor_of_the_timeout(self, make: Any, hours: VirtualClock) -> None:
        queue, _ = await make(1, script=Script(0, 1), spec={"timeout_s": 30}, now_s=hours.now_s)
        await waits(queue, 1)
        await passed(hours, 20.0)
        queue.script.let_out(0)
        await queue.script.starts(0, 1)
        ctx = queue.script.contexts[1]
        assert ctx.remaining_s() == pytest.approx(30.0)
        await passed(hours, 29.0)
        assert (ctx.remaining_s(), ctx.cancelled) == (1.0, False)
        await passed(hours, 1.0)
        assert ctx.cancelled
        queue.script.let_out()
        await queue.bench.idle()
        assert queue.bench.meter.outcomes == {"success": 2}
        assert queue.bench.meter.errors == {"HandlerTimeoutError": 1}
        assert "handler_overran" in [name for _, name, _ in queue.bench.log.lines]

    async def test_a_late_error_is_a_timeout(self, make: Any, hours: VirtualClock) -> None:
        script = Script(0, n0=ValueError("late"))
        queue, (message,) = await make(script=script, spec={"timeout_s": 30}, now_s=hours.now_s)
        await passed(hours, 31.0)
        script.let_out()
        await queue.bench.idle()
        assert queue.bench.reason == "timeout"
        assert message.answers == [("REQ", 2.0)]

    async def test_one_timer_finds_each_call_that_is_late(self, make: Any, hours: VirtualClock) -> None:
        script = Script(0, 1)
        queue, _ = await make(script=script, threads=2, spec={"timeout_s": 30}, now_s=hours.now_s)
        await passed(hours, 10.0)
        queue.receive(1)
        await script.starts(0, 1)
        assert timers().count("Pool._look_overdue") == 1
        await passed(hours, 20.0)
        assert [script.contexts[n].cancelled for n in (0, 1)] == [True, False]
        await passed(hours, 10.0)
        assert script.contexts[1].cancelled
        script.let_out()
        await queue.bench.idle()

    async def test_an_idle_pool_has_no_timer(self, hours: VirtualClock) -> None:
        queue = Queue(Script(), spec={"timeout_s": 30}, now_s=hours.now_s)
        queue.receive(1)
        await queue.bench.idle()
        await passed(hours, 60.0)
        assert timers() == []

    async def test_messages_that_wait_for_a_thread_are_touched(self, make: Any, hours: VirtualClock) -> None:
        queue, (_, waiting) = await make(1, spec={"timeout_s": 880}, now_s=hours.now_s)
        await waits(queue, 1)
        await passed(hours, 100.0)
        assert queue.bench.journal.count(("TOUCH", waiting.id)) == 3, "at 30, 60 and 90 s"
        queue.script.let_out()
        await queue.bench.idle()
        assert waiting.answers == FIN


class TestTakenBack:
    """Messages that wait for a thread are not started when they may not be, and are not kept in vain."""

    async def test_when_the_worker_stops_they_are_requeued_at_once(self, make: Any) -> None:
        queue, (running, *waiting) = await make(1, 2)
        await waits(queue, 2)
        queue.bench.intake.stop()
        assert [message.answers for message in waiting] == [[], []], "nsqd would send them again"
        queue.bench.intake.give_back()
        assert [message.answers for message in waiting] == [[("REQ", 0.0)]] * 2
        assert queue.bench.meter.requeues == {"shutdown": 2}
        queue.end()
        await queue.bench.idle()
        assert (running.answers, queue.script.started) == (FIN, [0])

    async def test_at_the_end_of_the_grace_the_running_call_is_told(self, make: Any) -> None:
        queue, _ = await make(script=Script(0, n0=lambda ctx: Requeue(3 if ctx.cancelled else 0)))
        queue.bench.intake.stop()
        queue.bench.intake.give_back()
        queue.bench.intake.cancel()
        assert not queue.bench.intake.is_settling
        queue.end()
        await queue.bench.idle()
        assert queue.bench.journal[-1] == ("REQ", 3)

    async def test_while_the_gate_is_shut_none_starts_and_afterwards_all_do_in_order(self, make: Any) -> None:
        queue, _ = await make(1, 2)
        await waits(queue, 2)
        queue.bench.gate.shut(RequeueReason.PAUSED)
        queue.receive(3)
        queue.end()
        await until(lambda: queue.bench.intake.held == 3)
        await turns(3)
        assert queue.script.started == [0]
        queue.bench.gate.open(RequeueReason.PAUSED)
        await queue.bench.idle()
        assert queue.script.started == [0, 1, 2, 3]

    async def test_a_trial_is_the_only_one_that_starts(self, make: Any) -> None:
        queue, _ = await make(1, 2, 3, script=Script(0, 1))
        await waits(queue, 3)
        queue.bench.gate.rest(RequeueReason.PAUSED, 10.0)
        queue.bench.gate.open(RequeueReason.PAUSED)
        queue.bench.gate.probe(1)
        await waits(queue, 1)
        queue.script.let_out(0)
        await queue.script.starts(0, 1)
        await turns(3)
        assert len(queue.pool._calls) == 0
        queue.bench.gate.probe(None)
        queue.script.let_out()
        await queue.bench.idle()
        assert queue.script.started == [0, 1, 2, 3]

    async def test_when_the_only_thread_hangs_they_are_requeued_once_its_slot_is_lost(
        self, make: Any, hours: VirtualClock
    ) -> None:
        queue, (hung, *waiting) = await make(1, 2, now_s=hours.now_s)
        await waits(queue, 2)
        await passed(hours, 58.0)
        assert [message.answers for message in waiting] == [[], []]
        await passed(hours, 1.0)
        assert [message.answers for message in waiting] == [[("REQ", 0.0)]] * 2
        assert (queue.bench.slots.lost, queue.bench.slots.limit, queue.bench.sizes[-1]) == (1, 0, 0)
        queue.end()
        await queue.bench.idle()
        assert (hung.answers, queue.script.started) == ([], [0])
        assert (queue.bench.slots.lost, queue.bench.slots.limit) == (0, 1)

    async def test_while_another_thread_is_left_they_go_on(self, make: Any, hours: VirtualClock) -> None:
        queue, _ = await make(1, 2, script=Script(0, 1), threads=2, now_s=hours.now_s)
        await queue.script.starts(0, 1)
        queue.script.let_out(1)
        await queue.script.starts(0, 1, 2)
        await passed(hours, 59.0)
        assert queue.bench.slots.lost == 1
        queue.receive(3)
        await queue.script.starts(0, 1, 2, 3)
        queue.script.let_out()
        await queue.bench.idle()

    async def test_before_nsqd_would_take_them_away_they_are_requeued(
        self, make: Any, hours: VirtualClock
    ) -> None:
        queue, _ = await make(spec={"timeout_s": 880}, now_s=hours.now_s)
        (early,) = queue.receive(1, max_lease_s=300.0)
        (late,) = queue.receive(2)
        await waits(queue, 2)
        await passed(hours, 299.0)
        assert early.answers == [("REQ", 0.0)]
        queue.end()
        await queue.bench.idle()
        assert (late.answers, queue.script.started) == (FIN, [0, 2])

    async def test_on_a_lost_connection_they_are_given_up_and_the_others_go_on(self, make: Any) -> None:
        queue, (_, lost, kept) = await make(1, 2)
        await waits(queue, 2)
        lost.is_connected = False
        queue.bench.intake.drop_lost()
        assert queue.bench.meter.outcomes == {"lease_lost": 1}
        queue.end()
        await queue.bench.idle()
        assert (lost.is_forgotten, kept.answers, queue.script.started) == (True, FIN, [0, 2])

    async def test_one_that_nsqd_delivers_again_is_lost_and_the_later_takes_its_place(
        self, make: Any
    ) -> None:
        queue, (_, earlier, other) = await make(1, 2)
        await waits(queue, 2)
        later = queue.bench.redeliver(earlier)
        assert queue.bench.meter.outcomes == {"lease_lost": 1}
        queue.end()
        await queue.bench.idle()
        assert (earlier.answers, other.answers, later.answers) == ([], FIN, FIN)
        assert queue.script.started == [0, 2, 1]

    async def test_one_that_runs_already_is_followed_by_its_redelivery(self, make: Any) -> None:
        queue, (running,) = await make()
        later = queue.bench.redeliver(running)
        await turns(3)
        queue.end()
        await queue.bench.idle()
        assert (running.answers, later.answers, queue.script.started) == ([], FIN, [0])
        assert queue.bench.meter.outcomes == {"lease_lost": 1, "duplicate": 1}

    async def test_one_whose_lease_ended_while_the_loop_was_blocked_does_not_start(
        self, make: Any, hours: VirtualClock
    ) -> None:
        queue, _ = await make(1, now_s=hours.now_s)
        await waits(queue, 1)
        hours._now_s += 70.0
        queue.end()
        await queue.bench.idle()
        assert queue.script.started == [0]
        assert queue.bench.meter.outcomes == {"lease_lost": 2}

    async def test_a_suspect_waits_for_all_of_them(self, make: Any) -> None:
        queue, _ = await make(1, 2, script=Script(0, 3))
        queue.receive(3, attempts=SUSPECT)
        queue.receive(4)
        queue.script.let_out(0)
        await queue.script.starts(0, 1, 2, 4, 3)
        await until(lambda: queue.bench.intake.held == 1)
        queue.receive(5)
        await turns(3)
        assert len(queue.script.started) == 5
        queue.script.let_out()
        await queue.bench.idle()
        assert queue.script.started[-1] == 5

    async def test_a_suspect_that_has_been_started_is_not_taken_back(self, make: Any) -> None:
        """Its start is in the log, and no other message may start before it has ended."""
        queue = Queue(Script(1))
        (suspect,) = queue.receive(1, attempts=SUSPECT)
        await until(lambda: "suspect_started" in [name for _, name, _ in queue.bench.log.lines])
        queue.bench.gate.shut(RequeueReason.PAUSED)
        await queue.script.starts(1)
        queue.end()
        await queue.bench.idle()
        assert suspect.answers == FIN


class Threaded(Scenario):
    """The same in threads: arbitrary messages, failures and operations."""

    def make_handler(self, **options: Any) -> Handler[Happened]:
        self.out = threading.Event()
        return plain(self.behave_in_thread, **options)

    @property
    def pool(self) -> Any:
        assert isinstance(self.bench.dispatcher, Dispatcher)
        return self.bench.dispatcher.pool

    def behave_in_thread(self, event: Happened, ctx: Context) -> Any:
        assert ctx.message_id not in self.running, "two deliveries of one message"
        if ctx.attempts > POLICY.max_attempts:
            assert all(other.lease_lost for other in tuple(self.running.values())), "it is alone"
        self.running[ctx.message_id] = ctx
        assert len(self.running) <= self.slots
        try:
            return self.act_in_thread(BEHAVIOURS[event.n], ctx)
        finally:
            del self.running[ctx.message_id]

    def act_in_thread(self, what: object, ctx: Context) -> Any:
        if isinstance(what, BaseException) and not isinstance(what, KeyboardInterrupt):
            raise what  # the latter would end the test while the worker stops
        if what == "publishes":
            return ctx.publish(Happened(0))
        if what in {"waits", "sleeps"}:
            assert self.out.wait(PATIENCE_S)
            return None
        return what

    def release(self) -> None:
        self.out.set()

    async def step(self, step: Any) -> None:
        await super().step(step)
        if self.bench.gate.reason is not None:
            waiting = [call for call in self.pool._calls if not isinstance(call, AwaitedCall)]
            assert waiting == [], "only a suspect may have been started before"


@given(steps=steps, slots=st.integers(1, 4), per_slot=st.floats(1.0, 30.0))
def test_received_is_the_sum_of_outcomes_and_in_flight_at_every_step(
    steps: list[Any], slots: int, per_slot: float
) -> None:
    """And nothing lost is answered or touched, no message runs twice at a time, and suspects run alone."""

    async def run() -> None:
        hours = VirtualClock(lambda: False, outside_wait_s=0.0)
        hours.start()
        scenario = Threaded(slots, hours, None, most=50)
        scenario.bench.slots.spread(per_slot)
        try:
            await scenario.play(steps)
        finally:
            scenario.release()
            hours.stop()

    asyncio.run(run())
