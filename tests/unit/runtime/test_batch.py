"""Batch: messages gather, the handler is called with all of them, and each has its own end."""

import asyncio
import contextlib
import contextvars
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import pytest

from nsqkit import (
    BatchHandler,
    Context,
    DeadLetter,
    Delivery,
    Discard,
    Finish,
    KillSwitch,
    Next,
    Outcome,
    Pause,
    RateLimit,
    Requeue,
    RetryPolicy,
)
from nsqkit.testing.clock import VirtualClock
from tests.unit.runtime.bench import (
    POLICY,
    Bench,
    FakeMessage,
    Happened,
    passed,
    timers,
)
from tests.waiting import PATIENCE_S, until_blocking

Batch = Sequence[Delivery[Happened]]
Behave = Callable[[Batch], Awaitable[Any]]
OPTIONS: dict[str, Any] = {"max_messages": 3, "max_wait_s": 2.0, "timeout_s": 10.0, "retry": POLICY}
who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def batching(behave: Behave, **options: Any) -> BatchHandler[Happened]:
    """Return a batch handler that does as it is told."""

    class Scripted(BatchHandler[Happened], channel="work", **(OPTIONS | options)):
        async def handle(self, batch: Batch) -> Mapping[str, Outcome] | None:
            return cast("Mapping[str, Outcome] | None", await behave(batch))

    return Scripted()


def plainly(behave: Callable[[Batch], Any], **options: Any) -> BatchHandler[Happened]:
    """Return a plain batch handler that does as it is told."""

    class Scripted(BatchHandler[Happened], channel="work", **(OPTIONS | options)):
        def handle(self, batch: Batch) -> Mapping[str, Outcome] | None:
            return cast("Mapping[str, Outcome] | None", behave(batch))

    return Scripted()


def numbers(batch: Batch) -> list[int]:
    return [delivery.event.n for delivery in batch]


class Script:
    """A batch handler's behaviour that notes its calls: what it was called with, and when.

    Args:
        hours: The clock.
        poison: Numbers of the events that make a call fail.
        hangs: Numbers of the events that make a call hang.
        takes_s: What any other call takes.
        outcomes: By number.
    """

    def __init__(
        self,
        hours: VirtualClock,
        *,
        poison: Sequence[int] = (),
        hangs: Sequence[int] = (),
        takes_s: float = 0.0,
        outcomes: Mapping[int, Outcome] | None = None,
    ) -> None:
        self.calls: list[list[int]] = []
        self.at_s: list[float] = []
        self.batches: list[Batch] = []
        self.running = 0
        self.most = 0
        self.cancelled = 0
        self._hours = hours
        self._poison = set(poison)
        self._hangs = set(hangs)
        self._takes_s = takes_s
        self._outcomes = outcomes or {}

    async def __call__(self, batch: Batch) -> Mapping[str, Outcome]:
        found = numbers(batch)
        self.calls.append(found)
        self.batches.append(batch)
        self.at_s.append(self._hours.elapsed_s)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(10_000 if self._hangs & set(found) else self._takes_s)  # in virtual time
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if poison := self._poison & set(found):
            raise ValueError(f"poison {poison}")
        return {each.key: self._outcomes[each.event.n] for each in batch if each.event.n in self._outcomes}


def body(n: int) -> bytes:
    return b'{"n": %d}' % n


def send(bench: Bench, *found: int, **options: Any) -> list[FakeMessage]:
    return [bench.receive(body(n), **options) for n in found]


def bench_of(hours: VirtualClock, handler: BatchHandler[Happened], **options: Any) -> Bench:
    return Bench(handler, now_s=hours.now_s, **({"slots": 3} | options))


def answers(messages: Sequence[FakeMessage]) -> list[tuple[Any, ...]]:
    return [message.answers[0] if message.answers else () for message in messages]


class TestGathering:
    """When a batch begins."""

    async def test_a_full_batch_begins_at_once(self, hours: VirtualClock) -> None:
        script = Script(hours)
        bench = bench_of(hours, batching(script))
        messages = send(bench, 1, 2, 3)
        await bench.idle()
        assert (script.calls, script.at_s) == ([[1, 2, 3]], [0.0])
        assert answers(messages) == [("FIN",)] * 3
        assert "BatchDispatcher._on_max_wait" not in timers()

    async def test_a_batch_that_is_not_full_begins_a_while_after_its_first_message(
        self, hours: VirtualClock
    ) -> None:
        script = Script(hours)
        bench = bench_of(hours, batching(script))
        send(bench, 1)
        await passed(hours, 1.5)
        send(bench, 2)
        await bench.idle()
        assert (script.calls, script.at_s) == ([[1, 2]], [2.0])

    async def test_the_next_batch_waits_from_its_own_first_message(self, hours: VirtualClock) -> None:
        script = Script(hours)
        bench = bench_of(hours, batching(script), slots=6)
        send(bench, 1, 2, 3)
        await passed(hours, 1.0)
        send(bench, 4)
        await bench.idle()
        assert (script.calls, script.at_s) == ([[1, 2, 3], [4]], [0.0, 3.0])

    async def test_what_arrives_while_a_batch_runs_gathers_for_the_next(self, hours: VirtualClock) -> None:
        script = Script(hours, takes_s=5.0)
        bench = bench_of(hours, batching(script, max_in_flight=5), slots=5)
        send(bench, 1)
        await passed(hours, 2.0)
        send(bench, 2)
        await passed(hours, 3.0)
        send(bench, 3)
        await bench.idle()
        assert (script.calls, script.at_s) == ([[1], [2, 3]], [2.0, 7.0])
        assert script.most == 1

    @pytest.mark.parametrize(
        ("max_in_flight", "most"),
        [
            pytest.param(None, 1, id="by default one"),
            pytest.param(5, 1, id="one where two would not be full"),
            pytest.param(6, 2, id="two where two are full"),
            pytest.param(9, 3, id="three where three are full"),
        ],
    )
    async def test_as_many_batches_run_as_max_in_flight_has_room_for(
        self, hours: VirtualClock, max_in_flight: int | None, most: int
    ) -> None:
        script = Script(hours, takes_s=1.0)
        handler = batching(script, max_in_flight=max_in_flight)
        bench = bench_of(hours, handler, slots=handler.spec.max_in_flight)
        send(bench, *range(30))
        await bench.idle()
        assert script.most == most
        assert sorted(n for call in script.calls for n in call) == list(range(30))
        assert max(map(len, script.calls)) == 3

    async def test_a_delivery_beyond_max_attempts_is_a_batch_of_its_own_at_once(
        self, hours: VirtualClock
    ) -> None:
        script = Script(hours)
        bench = bench_of(hours, batching(script))
        send(bench, 1, attempts=6)
        send(bench, 2, attempts=7)
        await bench.idle()
        assert (script.calls, script.at_s) == ([[1], [2]], [0.0, 0.0])

    async def test_a_rate_limit_counts_messages(self, hours: VirtualClock) -> None:
        script = Script(hours)
        bench = bench_of(hours, batching(script, rate_limit=RateLimit(per_s=2)))
        send(bench, 1, 2, 3, 4)
        await bench.idle()
        assert (script.calls, script.at_s) == ([[1, 2, 3], [4]], [1.0, 3.5])

    async def test_each_message_has_a_key_of_its_own_though_ids_repeat(self, hours: VirtualClock) -> None:
        script = Script(hours, outcomes={2: Discard()})
        bench = bench_of(hours, batching(script))
        for n, topic in ((1, "consumed"), (2, "consumed.work.retry"), (3, "other")):
            message = FakeMessage(body(n), received_s=hours.now_s())
            message.topic = topic
            bench.intake.receive([message])
        await bench.idle()
        assert len({delivery.key for delivery in script.batches[0]}) == 3
        assert {delivery.ctx.message_id for delivery in script.batches[0]} == {"0123456789abcdef"}
        assert bench.meter.outcomes == {"success": 2, "discard": 1}

    async def test_a_body_that_is_no_event_is_no_part_of_a_batch(self, hours: VirtualClock) -> None:
        script = Script(hours)
        bench = bench_of(hours, batching(script))
        bench.receive(b"nonsense")
        send(bench, 1, 2)
        await bench.idle()
        assert script.calls == [[1, 2]]
        assert bench.meter.outcomes == {"success": 2, "dead_letter": 1}


class TestOutcomes:
    """What a call returns."""

    async def test_each_message_has_the_outcome_that_is_named_and_the_others_are_done(
        self, hours: VirtualClock
    ) -> None:
        outcomes: dict[int, Outcome] = {
            2: Requeue(7),
            3: DeadLetter("bad"),
            4: Discard("old"),
            5: Finish(),
            6: Pause(9),
        }
        script = Script(hours, outcomes=outcomes)
        bench = bench_of(hours, batching(script, max_messages=6), slots=6)
        messages = send(bench, 1, 2, 3, 4, 5, 6)
        await bench.idle()
        assert answers(messages) == [("FIN",), ("REQ", 7), ("FIN",), ("FIN",), ("FIN",), ("REQ", 9)]
        assert bench.meter.outcomes == {"success": 2, "requeue": 2, "dead_letter": 1, "discard": 1}
        assert bench.gate.until_s - hours.now_s() == 9

    @pytest.mark.parametrize(
        ("returned", "said"),
        [
            pytest.param(
                lambda batch: [Finish()],
                "Scripted.handle returned a list; return None or outcomes by key",
                id="a list",
            ),
            pytest.param(
                lambda batch: Finish(),
                "Scripted.handle returned a Finish; return None or outcomes by key",
                id="one outcome for all",
            ),
            pytest.param(
                lambda batch: {"7b": Finish()},
                "Scripted.handle returned an outcome for '7b'; use the keys of the deliveries",
                id="a key that is none",
            ),
            pytest.param(
                lambda batch: {batch[0].key: "done"},
                "Scripted.handle returned 'done' for '1'; give an outcome like Requeue(5)",
                id="a value that is no outcome",
            ),
            pytest.param(
                lambda batch: {batch[0].key: None},
                "Scripted.handle returned None for '1'; give an outcome like Requeue(5)",
                id="None for a message",
            ),
        ],
    )
    async def test_anything_else_is_a_failure_that_says_what_to_return(
        self, hours: VirtualClock, returned: Callable[[Batch], Any], said: str
    ) -> None:
        async def behave(batch: Batch) -> Any:
            return returned(batch)

        bench = bench_of(hours, batching(behave, max_messages=1), slots=1)
        (message,) = send(bench, 1)
        await bench.idle()
        assert message.answers == [("REQ", 2.0)]
        assert bench.log.settled()[0]["detail"].endswith(said)

    async def test_a_call_that_names_a_wrong_key_ends_no_message(self, hours: VirtualClock) -> None:
        async def behave(batch: Batch) -> Any:
            return {each.key: Discard() for each in batch} | ({"x": Finish()} if len(batch) > 1 else {})

        bench = bench_of(hours, batching(behave))
        send(bench, 1, 2, 3)
        await bench.idle()
        assert bench.meter.outcomes == {"discard": 3}, "said by the calls of their own"

    async def test_what_middleware_returns_instead_is_checked(self, hours: VirtualClock) -> None:
        async def forgetful(event: Any, ctx: Context, call_next: Next) -> Any:
            await call_next(event, ctx)
            return "done"

        bench = bench_of(hours, batching(Script(hours)), middleware=[forgetful])
        send(bench, 1, 2, 3)
        await bench.idle()
        assert bench.meter.requeues == {"error": 3}
        assert "return what call_next returned" in bench.log.settled()[0]["detail"]

    async def test_what_middleware_makes_of_nothing_is_a_success(self, hours: VirtualClock) -> None:
        async def silent(event: Any, ctx: Context, call_next: Next) -> None:
            await call_next(event, ctx)

        bench = bench_of(hours, batching(Script(hours)), middleware=[silent])
        send(bench, 1, 2, 3)
        await bench.idle()
        assert bench.meter.outcomes == {"success": 3}

    async def test_middleware_is_around_each_message_also_when_its_batch_fails(
        self, hours: VirtualClock
    ) -> None:
        seen: list[tuple[int, str]] = []

        async def around(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            try:
                outcome = await call_next(event, ctx)
            except ValueError:
                seen.append((event.n, "failed"))
                raise
            seen.append((event.n, "done"))
            return outcome

        bench = bench_of(hours, batching(Script(hours, poison=[2])), middleware=[around])
        send(bench, 1, 2, 3)
        await bench.idle()
        assert sorted(seen) == [(1, "done"), (2, "failed"), (3, "done")]

    async def test_what_a_message_publishes_is_sent_when_that_message_succeeds(
        self, hours: VirtualClock
    ) -> None:
        async def behave(batch: Batch) -> None:
            for each in batch:
                each.ctx.publish(Happened(each.event.n * 10), topic="followed")
            if 2 in numbers(batch):
                raise ValueError("poison")

        bench = bench_of(hours, batching(behave))
        send(bench, 1, 2, 3)
        await bench.idle()
        sent = [json.loads(content)["data"]["n"] for _, _, content, _ in bench.publishes.published]
        assert sorted(sent) == [10, 30], "once each, though they were collected twice"


class TestReruns:
    """What a failed call means for its messages."""

    async def test_a_raise_reruns_its_messages_one_by_one_and_the_poison_fails_by_itself(
        self, hours: VirtualClock
    ) -> None:
        script = Script(hours, poison=[2])
        bench = bench_of(hours, batching(script))
        messages = send(bench, 1, 2, 3)
        await bench.idle()
        assert script.calls == [[1, 2, 3], [1], [2], [3]]
        assert script.most == 1
        assert answers(messages) == [("FIN",), ("REQ", 2.0), ("FIN",)]
        assert bench.meter.errors == {"ValueError": 1}

    async def test_a_timeout_does_so_too_and_each_rerun_has_a_timeout_of_its_own(
        self, hours: VirtualClock
    ) -> None:
        script = Script(hours, hangs=[2], takes_s=6.0)
        bench = bench_of(hours, batching(script))
        messages = send(bench, 1, 2, 3)
        await bench.idle()
        assert script.at_s == [0.0, 10.0, 16.0, 26.0]
        assert answers(messages) == [("FIN",), ("REQ", 2.0), ("FIN",)]
        assert bench.meter.requeues == {"timeout": 1}

    async def test_no_message_has_an_outcome_before_the_reruns(self, hours: VirtualClock) -> None:
        script = Script(hours, poison=[3], takes_s=1.0)
        bench = bench_of(hours, batching(script))
        messages = send(bench, 1, 2, 3)
        await passed(hours, 1.5)
        assert answers(messages) == [(), (), ()]
        await passed(hours, 1.0)
        assert answers(messages) == [("FIN",), (), ()]
        await bench.idle()

    async def test_a_rerun_may_name_an_outcome(self, hours: VirtualClock) -> None:
        script = Script(hours, poison=[2], outcomes={3: Discard("x")})
        bench = bench_of(hours, batching(script))
        send(bench, 1, 2, 3)
        await bench.idle()
        assert bench.meter.outcomes == {"success": 1, "requeue": 1, "discard": 1}

    async def test_a_batch_of_one_is_not_run_twice(self, hours: VirtualClock) -> None:
        script = Script(hours, poison=[1])
        bench = bench_of(hours, batching(script))
        send(bench, 1)
        await bench.idle()
        assert script.calls == [[1]]
        assert bench.reason == "error"
        assert not [event for _, event, _ in bench.log.lines if event == "batch_failed"]

    async def test_what_has_the_fewest_attempts_left_comes_first(self, hours: VirtualClock) -> None:
        script = Script(hours, poison=[2])
        bench = bench_of(hours, batching(script))
        for n, attempts in ((1, 1), (2, 3), (3, 5)):
            send(bench, n, attempts=attempts)
        await bench.idle()
        assert script.calls == [[1, 2, 3], [3], [2], [1]]

    async def test_a_call_that_ignores_every_cancellation_is_one_line_that_says_where(
        self, hours: VirtualClock
    ) -> None:
        end = asyncio.Event()

        async def deaf(batch: Batch) -> None:
            while not end.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await end.wait()

        bench = bench_of(hours, batching(deaf))
        send(bench, 1, 2, 3)
        await passed(hours, 3600.0)
        (fields,) = [fields for _, event, fields in bench.log.lines if event == "handler_stuck"]
        assert "test_batch.py" in str(fields["at"])
        end.set()
        await bench.idle()

    async def test_a_failed_call_is_one_line_that_says_where(self, hours: VirtualClock) -> None:
        bench = bench_of(hours, batching(Script(hours, poison=[2])))
        send(bench, 1, 2, 3)
        await bench.idle()
        ((level, fields),) = [(level, f) for level, event, f in bench.log.lines if event == "batch_failed"]
        assert level == "warning"
        assert (fields["messages"], fields["error_type"]) == (3, "ValueError")
        assert "test_batch.py" in fields["at"]

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            pytest.param(asyncio.CancelledError(), "nsqkit did not cancel it", id="it cancels itself"),
            pytest.param(SystemExit(3), "raised SystemExit: 3", id="it ends the process"),
            pytest.param(GeneratorExit(), "raised GeneratorExit", id="it ends a generator"),
            pytest.param(KeyboardInterrupt(), "raised KeyboardInterrupt", id="it is no Ctrl-C"),
            pytest.param(StopIteration(), "StopIteration", id="it stops an iteration"),
        ],
    )
    async def test_whatever_it_raises_the_reruns_decide(
        self, hours: VirtualClock, error: BaseException, said: str
    ) -> None:
        async def behave(batch: Batch) -> None:
            if 2 in numbers(batch):
                raise error

        bench = bench_of(hours, batching(behave))
        messages = send(bench, 1, 2, 3)
        await bench.idle()
        assert answers(messages) == [("FIN",), ("REQ", 2.0), ("FIN",)]
        assert said in bench.log.settled()[0]["detail"]

    async def test_a_call_that_swallows_its_timeout_counts_as_it_returns(self, hours: VirtualClock) -> None:
        async def stubborn(batch: Batch) -> Mapping[str, Outcome]:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return {batch[0].key: Discard("late")}
            raise AssertionError

        bench = bench_of(hours, batching(stubborn))
        send(bench, 1, 2, 3)
        await bench.idle()
        assert bench.meter.outcomes == {"success": 2, "discard": 1}

    async def test_whose_turn_does_not_come_while_nsqd_lets_it_be_held_fails_with_the_batch(
        self, hours: VirtualClock
    ) -> None:
        script = Script(hours, poison=[0], takes_s=30.0)
        bench = bench_of(hours, batching(script, timeout_s=40.0))
        messages = send(bench, 0, 1, 2, max_lease_s=120.0)
        await bench.idle()
        # 30 s are over, then 60 s; after 90 s less than the timeout remains until 119 s.
        assert script.calls == [[0, 1, 2], [0], [1]]
        assert answers(messages) == [("REQ", 2.0), ("FIN",), ("REQ", 2.0)]
        assert bench.meter.errors == {"ValueError": 2}

    async def test_what_waits_for_its_turn_is_touched_until_it_comes(self, hours: VirtualClock) -> None:
        script = Script(hours, poison=[1], takes_s=15.0)
        bench = bench_of(hours, batching(script, timeout_s=20.0))
        messages = send(bench, 1, 2, 3, lease_s=24.0)
        await bench.idle()
        # Touched at 12 s, and not again before its timeout at 20 s; but the batch fails at 15 s.
        assert answers(messages) == [("REQ", 2.0), ("FIN",), ("FIN",)]

    async def test_the_kill_switch_counts_what_the_reruns_say(self, hours: VirtualClock) -> None:
        switch = KillSwitch(failure_ratio=0.5, min_messages=3, window_s=60, open_s=5)
        script = Script(hours, poison=[1])
        bench = bench_of(hours, batching(script, kill_switch=switch))
        send(bench, 1, 2, 3)
        await bench.idle()
        assert bench.meter.states[-1] == "closed", "one of three failed"
        script = Script(hours, poison=[1, 2])
        bench = bench_of(hours, batching(script, kill_switch=switch))
        send(bench, 1, 2, 3)
        await bench.idle()
        assert bench.meter.states[-1] == "open"


class TestTime:
    """What a handler and the metrics see of time."""

    async def test_the_duration_is_the_calls_without_the_wait_for_others(self, hours: VirtualClock) -> None:
        bench = bench_of(hours, batching(Script(hours, takes_s=1.5)))
        send(bench, 1, 2)
        await bench.idle()
        assert bench.meter.durations == [1.5, 1.5]

    async def test_after_a_failed_batch_it_is_that_of_the_rerun(self, hours: VirtualClock) -> None:
        bench = bench_of(hours, batching(Script(hours, hangs=[2], takes_s=1.5)))
        send(bench, 1, 2, 3)
        await bench.idle()
        assert bench.meter.durations == [1.5, 10.0, 1.5]

    async def test_what_never_began_has_none(self, hours: VirtualClock) -> None:
        bench = bench_of(hours, batching(Script(hours)))
        send(bench, 1)
        await passed(hours, 1.0)
        bench.intake.stop()
        bench.intake.give_back()
        await bench.idle()
        assert bench.meter.durations == []

    async def test_the_time_that_remains_is_that_of_the_call(self, hours: VirtualClock) -> None:
        left: list[float] = []

        async def behave(batch: Batch) -> None:
            await asyncio.sleep(4.0)  # the handler's work, in virtual time
            left.extend(each.ctx.remaining_s() for each in batch)
            if len(batch) > 1:
                raise ValueError("once more")

        bench = bench_of(hours, batching(behave))
        send(bench, 1, 2)
        await bench.idle()
        assert left == pytest.approx([6.0, 6.0, 6.0, 6.0])

    async def test_what_gathers_is_touched(self, hours: VirtualClock) -> None:
        bench = bench_of(hours, batching(Script(hours), max_wait_s=100.0))
        (message,) = send(bench, 1, lease_s=30.0)
        await bench.idle()
        assert message.answers == [("FIN",)]

    async def test_on_the_loop_there_is_no_limit(self, hours: VirtualClock) -> None:
        left: list[float] = []

        def behave(batch: Batch) -> None:
            left.extend(each.ctx.remaining_s() for each in batch)
            if len(batch) > 1:
                raise ValueError("once more")

        bench = bench_of(hours, plainly(behave, run_on_loop=True))
        send(bench, 1, 2)
        await bench.idle()
        assert min(left) > 800
        assert bench.meter.outcomes == {"success": 2}


class TestLost:
    """Messages whose lease or connection is over."""

    async def test_what_is_lost_before_the_batch_begins_is_left_out_of_it(self, hours: VirtualClock) -> None:
        switch = KillSwitch(failure_ratio=0.1, min_messages=1)
        script = Script(hours)
        bench = bench_of(hours, batching(script, kill_switch=switch))
        lost, kept = send(bench, 1, 2)
        await passed(hours, 1.0)
        lost.is_connected = False
        await bench.idle()
        assert script.calls == [[2]]
        assert (lost.answers, kept.answers) == ([], [("FIN",)])
        assert bench.meter.outcomes == {"lease_lost": 1, "success": 1}
        assert bench.meter.errors == {}, "nothing failed"
        assert bench.meter.states[-1] == "closed"

    async def test_a_batch_of_which_nothing_is_left_is_not_run(self, hours: VirtualClock) -> None:
        script = Script(hours)
        bench = bench_of(hours, batching(script))
        messages = send(bench, 1, 2)
        await passed(hours, 1.0)
        for message in messages:
            message.is_connected = False
        await bench.idle()
        assert script.calls == []
        assert bench.meter.outcomes == {"lease_lost": 2}

    async def test_a_connection_lost_while_it_runs_drops_only_its_own(self, hours: VirtualClock) -> None:
        script = Script(hours, takes_s=5.0)
        bench = bench_of(hours, batching(script))
        messages = send(bench, 1, 2, 3)
        await passed(hours, 1.0)
        messages[1].is_connected = False
        await bench.idle()
        assert script.cancelled == 0
        assert answers(messages) == [("FIN",), (), ("FIN",)]
        assert bench.meter.outcomes == {"success": 2, "lease_lost": 1}

    async def test_what_is_lost_is_not_run_again(self, hours: VirtualClock) -> None:
        script = Script(hours, poison=[1], takes_s=5.0)
        bench = bench_of(hours, batching(script))
        messages = send(bench, 1, 2, 3)
        await passed(hours, 1.0)
        messages[1].is_connected = False
        await bench.idle()
        assert script.calls == [[1, 2, 3], [1], [3]]
        assert bench.meter.outcomes == {"success": 1, "requeue": 1, "lease_lost": 1}

    async def test_what_was_lost_before_it_ran_is_handled_when_it_comes_again(
        self, hours: VirtualClock
    ) -> None:
        script = Script(hours)
        bench = bench_of(hours, batching(script))
        (message,) = send(bench, 1)
        await passed(hours, 1.0)
        again = bench.redeliver(message)
        await bench.idle()
        assert (message.answers, again.answers) == ([], [("FIN",)])
        assert script.calls == [[1]]


class TestStop:
    """What a drain does with a batch."""

    async def test_a_batch_that_has_not_begun_is_given_back(self, hours: VirtualClock) -> None:
        script = Script(hours)
        bench = bench_of(hours, batching(script))
        messages = send(bench, 1, 2)
        await passed(hours, 1.0)
        bench.intake.stop()
        assert answers(messages) == [(), ()], "before nsqd knows, it would deliver them here again"
        bench.intake.give_back()
        await bench.idle()
        assert answers(messages) == [("REQ", 0.0)] * 2
        assert bench.meter.requeues == {"shutdown": 2}
        assert script.calls == []
        bench.intake.close()
        assert "BatchDispatcher._on_max_wait" not in timers()

    async def test_a_batch_that_runs_may_end(self, hours: VirtualClock) -> None:
        script = Script(hours, takes_s=5.0)
        bench = bench_of(hours, batching(script, max_in_flight=4), slots=4)
        messages = send(bench, 1, 2, 3)
        await passed(hours, 1.0)
        messages += send(bench, 4)
        await passed(hours, 1.0)
        bench.intake.stop()
        bench.intake.give_back()
        await bench.idle()
        assert answers(messages) == [("FIN",)] * 3 + [("REQ", 0.0)]

    async def test_a_batch_that_fails_in_the_drain_is_given_back(self, hours: VirtualClock) -> None:
        script = Script(hours, poison=[2], takes_s=5.0)
        bench = bench_of(hours, batching(script))
        messages = send(bench, 1, 2, 3)
        await passed(hours, 1.0)
        bench.intake.stop()
        bench.intake.give_back()
        await bench.idle()
        assert script.calls == [[1, 2, 3]]
        assert answers(messages) == [("REQ", 0.0)] * 3
        assert bench.meter.requeues == {"shutdown": 3}

    async def test_of_the_reruns_the_one_that_runs_may_end_and_the_rest_is_given_back_at_once(
        self, hours: VirtualClock
    ) -> None:
        script = Script(hours, poison=[1], takes_s=5.0)
        bench = bench_of(hours, batching(script))
        messages = send(bench, 1, 2, 3)
        await passed(hours, 12.0)
        bench.intake.stop()
        bench.intake.give_back()
        await passed(hours, 0.5)
        assert answers(messages) == [("REQ", 2.0), (), ("REQ", 0.0)]
        await bench.idle()
        assert answers(messages) == [("REQ", 2.0), ("FIN",), ("REQ", 0.0)]

    async def test_past_the_grace_period_it_is_cancelled_and_given_back_when_it_has_ended(
        self, hours: VirtualClock
    ) -> None:
        async def tidy(batch: Batch) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(3.0)  # such as a transaction that is rolled back

        bench = bench_of(hours, batching(tidy, timeout_s=100))
        messages = send(bench, 1, 2, 3)
        await passed(hours, 1.0)
        bench.intake.stop()
        bench.intake.give_back()
        bench.intake.cancel()
        await passed(hours, 2.0)
        assert answers(messages) == [()] * 3
        await bench.idle()
        assert hours.elapsed_s == pytest.approx(4.0)
        assert answers(messages) == [("REQ", 0.0)] * 3

    async def test_what_it_returns_although_it_is_cancelled_counts(self, hours: VirtualClock) -> None:
        async def stubborn(batch: Batch) -> Mapping[str, Outcome]:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return {batch[0].key: Discard("late")}
            raise AssertionError

        bench = bench_of(hours, batching(stubborn, timeout_s=100))
        send(bench, 1, 2, 3)
        await passed(hours, 1.0)
        bench.intake.stop()
        bench.intake.give_back()
        bench.intake.cancel()
        await bench.idle()
        assert bench.meter.outcomes == {"success": 2, "discard": 1}

    async def test_one_message_that_is_cancelled_leaves_the_others_alone(self, hours: VirtualClock) -> None:
        async def impatient(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            async with asyncio.timeout(3.0 if event.n == 2 else None):
                return await call_next(event, ctx)

        script = Script(hours, takes_s=5.0)
        bench = bench_of(hours, batching(script), middleware=[impatient])
        messages = send(bench, 1, 2, 3)
        await bench.idle()
        assert script.cancelled == 0
        assert answers(messages) == [("FIN",), ("REQ", 2.0), ("FIN",)]
        assert bench.meter.errors == {"TimeoutError": 1}

    async def test_one_that_is_cancelled_while_it_gathers_is_no_part_of_the_batch(
        self, hours: VirtualClock
    ) -> None:
        async def impatient(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            async with asyncio.timeout(1.0 if event.n == 2 else None):
                return await call_next(event, ctx)

        script = Script(hours)
        bench = bench_of(hours, batching(script), middleware=[impatient])
        send(bench, 1, 2)
        await passed(hours, 1.5)
        send(bench, 3)
        await bench.idle()
        assert script.calls == [[1, 3]]

    async def test_a_call_that_nobody_waits_for_any_more_is_cancelled(self, hours: VirtualClock) -> None:
        async def impatient(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            async with asyncio.timeout(3.0):
                return await call_next(event, ctx)

        script = Script(hours, takes_s=8.0)
        bench = bench_of(hours, batching(script), middleware=[impatient])
        send(bench, 1, 2, 3)
        await bench.idle()
        assert (script.cancelled, script.running) == (1, 0)
        assert bench.meter.errors == {"TimeoutError": 3}

    async def test_a_rerun_that_is_cancelled_leaves_the_next_ones_alone(self, hours: VirtualClock) -> None:
        async def impatient(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            async with asyncio.timeout(7.0 if event.n == 1 else None):
                return await call_next(event, ctx)

        script = Script(hours, poison=[3], takes_s=5.0)
        bench = bench_of(hours, batching(script), middleware=[impatient])
        messages = send(bench, 1, 2, 3)
        await bench.idle()
        assert script.calls == [[1, 2, 3], [1], [2], [3]]
        assert answers(messages) == [("REQ", 2.0), ("FIN",), ("REQ", 2.0)]


class TestThreads:
    """Plain ``def handle``."""

    async def test_a_batch_runs_in_one_thread(self) -> None:
        seen: list[tuple[list[int], str]] = []

        def behave(batch: Batch) -> Mapping[str, Outcome]:
            seen.append((numbers(batch), threading.current_thread().name))
            return {batch[1].key: Discard()}

        bench = Bench(plainly(behave), slots=3)
        send(bench, 1, 2, 3)
        await bench.idle()
        ((found, name),) = seen
        assert found == [1, 2, 3]
        assert name.startswith("Scripted")
        assert bench.meter.outcomes == {"success": 2, "discard": 1}
        assert len(bench.waits) == 1
        bench.dispatcher.close()

    async def test_no_more_batches_run_than_there_are_threads(self) -> None:
        inside: list[int] = []
        most = 0

        def behave(batch: Batch) -> None:
            nonlocal most
            inside.append(1)
            most = max(most, len(inside))
            threading.Event().wait(0.01)  # its work, beside which others could begin
            inside.pop()

        bench = Bench(plainly(behave, max_messages=1, max_in_flight=9), slots=2)
        for n in range(9):
            send(bench, n)
        await bench.idle()
        assert 1 <= most <= 2
        bench.dispatcher.close()

    async def test_past_its_timeout_every_message_is_told_and_a_late_raise_reruns_them(self) -> None:
        told: list[int] = []

        def behave(batch: Batch) -> None:
            if len(batch) > 1:
                until_blocking(lambda: all(each.ctx.cancelled for each in batch))
                raise ValueError("told to end")
            assert not batch[0].ctx.cancelled
            told.append(batch[0].event.n)

        bench = Bench(plainly(behave, timeout_s=0.02), slots=3, now_s=time.monotonic)
        send(bench, 1, 2, 3)
        await bench.idle()
        assert told == [1, 2, 3]
        assert bench.meter.outcomes == {"success": 3}
        (fields,) = [fields for _, event, fields in bench.log.lines if event == "batch_failed"]
        assert fields["error_type"] == "HandlerTimeoutError"
        bench.dispatcher.close()

    async def test_a_thread_is_told_and_not_cancelled_past_the_grace_period(self) -> None:
        inside = threading.Event()

        def behave(batch: Batch) -> None:
            inside.set()
            until_blocking(lambda: batch[0].ctx.cancelled)

        bench = Bench(plainly(behave), slots=3)
        messages = send(bench, 1, 2, 3)
        await asyncio.to_thread(inside.wait, PATIENCE_S)
        bench.intake.stop()
        bench.intake.give_back()
        bench.intake.cancel()
        await bench.idle()
        assert answers(messages) == [("FIN",)] * 3
        bench.dispatcher.close()

    async def test_no_call_is_in_a_thread_that_is_not_there(self) -> None:
        bench = Bench(plainly(lambda batch: None), slots=3)
        assert not bench.dispatcher.in_thread(Context())
        bench.dispatcher.close()


async def test_a_handler_that_sets_a_context_variable_keeps_it_to_its_call(hours: VirtualClock) -> None:
    found: list[str] = []

    async def behave(batch: Batch) -> None:
        found.append(who.get())
        who.set("somebody")
        raise ValueError("once more")

    who.set("the worker")
    bench = bench_of(hours, batching(behave))
    send(bench, 1, 2, 3)
    await bench.idle()
    assert found == ["the worker"] * 4


async def test_a_quarter_of_a_thousand_batches_are_settled_whatever_happens(hours: VirtualClock) -> None:
    script = Script(hours, poison=range(0, 750, 50), hangs=range(7, 750, 100), takes_s=0.1)
    retry = RetryPolicy(max_attempts=1)
    bench = bench_of(hours, batching(script, retry=retry, max_in_flight=12), slots=12)
    messages = send(bench, *range(750), max_lease_s=1e9)
    await bench.idle()
    failed = {n for n, message in enumerate(messages) if (n % 50 == 0 or n % 100 == 7)}
    assert bench.meter.outcomes == {"success": 750 - len(failed), "dead_letter": len(failed)}
    assert all(len(message.answers) == 1 for message in messages)
