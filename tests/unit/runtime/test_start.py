"""Start: messages that arrive together are handled and finished together, unless one of them needs more."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from nsqkit import Context, DeadLetter, Discard, KillSwitch, Outcome, Requeue, RetryPolicy
from nsqkit.policy.verdict import RequeueReason, Rules, Verdict
from nsqkit.runtime.runners import TURN_S
from tests.unit.runtime.bench import NOW_NS, POLICY, Bench, FakeMessage, Happened, asynchronous, plain, until
from tests.waiting import turns

FIN = [("FIN",)]
Behaviour = Callable[[int, Context], Any]


def scripted(behave: Behaviour, **options: Any) -> Any:
    """Return an async handler that does not wait, but calls this with the number in the event."""

    async def handle(event: Happened, ctx: Context) -> Outcome | None:
        outcome = behave(event.n, ctx)
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, asyncio.Event):
            await outcome.wait()
            return None
        result: Outcome | None = outcome
        return result

    return asynchronous(handle, **options)


def chunk(bench: Bench, count: int, **options: Any) -> list[FakeMessage]:
    return [bench.message(b'{"n": %d}' % n, **options) for n in range(count)]


class Started:
    """Notes what is handled, in order."""

    def __init__(self, **others: Any) -> None:
        self.numbers: list[int] = []
        self._others = {int(key.removeprefix("n")): value for key, value in others.items()}

    def __call__(self, n: int, ctx: Context) -> Any:
        self.numbers.append(n)
        other = self._others.get(n)
        return other() if callable(other) else other


class TestTogether:
    async def test_a_chunk_is_handled_in_order_in_one_turn_and_finished_by_one_command(self) -> None:
        started = Started()
        bench = Bench(scripted(started))
        messages = chunk(bench, 5)
        link = bench.receive_chunk(*messages)
        assert bench.intake.held == 5
        await asyncio.sleep(0)  # a turn of the loop has no event
        assert started.numbers == [0, 1, 2, 3, 4]
        assert link.finished == [[message.id for message in messages]]
        assert bench.meter.outcomes == {"success": 5}
        assert len(bench.meter.ages) == len(bench.meter.durations) == 5
        assert bench.intake.held == 0

    async def test_more_than_there_are_slots_are_handled_while_none_waits(self) -> None:
        bench = Bench(scripted(Started()), slots=1)
        link = bench.receive_chunk(*chunk(bench, 50))
        await bench.idle()
        assert len(link.finished) == 1

    async def test_chunks_of_several_connections_are_finished_on_their_own(self) -> None:
        bench = Bench(scripted(Started()))
        first, second = chunk(bench, 2), chunk(bench, 3)
        links = bench.receive_chunk(*first), bench.receive_chunk(*second)
        await bench.idle()
        assert [link.finished for link in links] == [
            [[message.id for message in first]],
            [[message.id for message in second]],
        ]

    async def test_a_plain_handler_on_the_loop_is_no_exception(self) -> None:
        bench = Bench(plain(lambda _event, _ctx: None, run_on_loop=True))
        link = bench.receive_chunk(*chunk(bench, 3))
        await bench.idle()
        assert [len(ids) for ids in link.finished] == [3]

    async def test_a_plain_handler_that_raises_stop_iteration_has_failed(self) -> None:
        """It has not returned, as a coroutine would have."""

        def stop(_event: Happened, _ctx: Context) -> None:
            raise StopIteration

        bench = Bench(plain(stop, run_on_loop=True))
        bench.receive_chunk(*chunk(bench, 3))
        await bench.idle()
        assert bench.meter.outcomes == {"requeue": 3}

    async def test_over_a_lost_connection_all_have_lost_their_lease(self) -> None:
        bench = Bench(scripted(Started()))
        messages = chunk(bench, 3, is_connected=False)
        bench.receive_chunk(*messages)
        await bench.idle()
        assert bench.meter.outcomes == {"lease_lost": 3}
        assert len(bench.log.settled()) == len(bench.meter.durations) == len(bench.meter.ages) == 3
        assert all(message.is_forgotten for message in messages)

    async def test_a_connection_that_is_lost_before_they_start_leaves_none_of_them_to_handle(self) -> None:
        started = Started()
        bench = Bench(scripted(started))
        bench.receive_chunk(*chunk(bench, 3, is_connected=False))
        bench.intake.drop_lost()
        assert bench.meter.outcomes == {"lease_lost": 3}
        await bench.idle()
        assert started.numbers == []


class TestOneNeedsMore:
    """One message of a chunk is not simply over: those before it are finished, those behind it go on."""

    @pytest.mark.parametrize(
        ("third", "answer"),
        [
            pytest.param(Requeue(7), ("REQ", 7), id="an outcome"),
            pytest.param(Discard("old"), ("FIN",), id="an outcome that finishes"),
            pytest.param(ValueError("x"), ("REQ", 2.0), id="an error"),
            pytest.param("nonsense", ("REQ", 2.0), id="a value that is no outcome"),
            pytest.param(asyncio.CancelledError(), ("REQ", 2.0), id="a cancellation of its own"),
        ],
    )
    async def test_it_gets_its_own_answer(self, third: object, answer: tuple[Any, ...]) -> None:
        started = Started(n2=third)
        bench = Bench(scripted(started))
        messages = chunk(bench, 5)
        link = bench.receive_chunk(*messages)
        await bench.idle()
        assert started.numbers == [0, 1, 2, 3, 4]
        assert [len(ids) for ids in link.finished] == [2, 2]
        assert [message.answers for message in messages] == [FIN, FIN, [answer], FIN, FIN]
        assert len(bench.meter.durations) == len(bench.meter.ages) == 5

    async def test_one_that_waits_holds_up_no_other(self) -> None:
        gate = asyncio.Event()
        bench = Bench(scripted(Started(n0=gate, n2=gate)))
        messages = chunk(bench, 4)
        bench.receive_chunk(*messages)
        await until(lambda: bench.intake.held == 2)
        assert [message.answers for message in messages] == [[], FIN, [], FIN]
        gate.set()
        await bench.idle()
        assert bench.meter.outcomes == {"success": 4}

    async def test_what_finds_all_slots_taken_waits(self) -> None:
        gate = asyncio.Event()
        started = Started(n0=gate, n1=gate)
        bench = Bench(scripted(started), slots=2)
        bench.receive_chunk(*chunk(bench, 4))
        await until(lambda: started.numbers == [0, 1])
        await turns()
        assert bench.intake.held == 4
        gate.set()
        await bench.idle()
        assert started.numbers == [0, 1, 2, 3]

    async def test_a_body_that_cannot_be_read_is_read_once(self) -> None:
        bench = Bench(scripted(Started()))
        messages = [bench.message(), bench.message(b"nonsense"), bench.message()]
        bench.receive_chunk(*messages)
        await bench.idle()
        assert bench.meter.outcomes == {"success": 2, "dead_letter": 1}
        assert len(bench.meter.ages) == 3
        assert len(bench.meter.durations) == 2

    async def test_what_a_chunk_publishes_is_published_in_one_turn(self) -> None:
        """So it can leave together; see ``JoiningPublisher``."""
        bench = Bench(scripted(lambda n, ctx: ctx.publish_raw("next", b"%d" % n)))
        bench.publishes.gate = asyncio.Event()
        bench.receive_chunk(*chunk(bench, 3), bench.message(b"nonsense"))
        await turns(2)
        assert [entry[1] for entry in bench.journal if entry[0] == "publish"] == [
            *["next"] * 3,
            "consumed.work.dead",
        ]
        bench.publishes.gate.set()
        await bench.idle()
        assert bench.meter.outcomes == {"success": 3, "dead_letter": 1}

    async def test_what_is_published_leaves_before_its_message_is_finished(self) -> None:
        def publish(n: int, ctx: Context) -> None:
            ctx.publish_raw("next", b"%d" % n)

        bench = Bench(scripted(publish))
        bench.receive_chunk(*chunk(bench, 2))
        await bench.idle()
        assert bench.journal.count(("confirmed", "next")) == bench.journal.count(("FIN",)) == 2
        assert bench.journal.index(("confirmed", "next")) < bench.journal.index(("FIN",))

    @pytest.mark.parametrize(
        "behave",
        [
            pytest.param(lambda n, ctx: ctx.publish_raw("consumed.work.dead", b"%d" % n), id="events"),
            pytest.param(lambda _n, _ctx: DeadLetter("x"), id="dead letters that the handler asks for"),
            pytest.param(lambda _n, _ctx: KeyError("x"), id="dead letters by a rule"),
        ],
    )
    async def test_what_a_chunk_leaves_behind_is_published_in_the_same_turn_and_finished_when_confirmed(
        self, behave: Behaviour
    ) -> None:
        bench = Bench(scripted(behave, retry=RetryPolicy(on={KeyError: DeadLetter()})))
        bench.publishes.gate = asyncio.Event()
        messages = chunk(bench, 5)
        bench.receive_chunk(*messages)
        await turns(2)
        assert bench.journal.count(("publish", "consumed.work.dead")) == 5
        assert ("FIN",) not in bench.journal
        bench.publishes.gate.set()
        await bench.idle()
        assert [message.answers for message in messages] == [FIN] * 5

    async def test_undecodable_bodies_of_a_chunk_become_dead_letters_in_the_same_turn(self) -> None:
        bench = Bench(scripted(Started()))
        bench.publishes.gate = asyncio.Event()
        bench.receive_chunk(*(bench.message(b"nonsense") for _ in range(5)))
        await turns(2)
        assert bench.journal.count(("publish", "consumed.work.dead")) == 5
        bench.publishes.gate.set()
        await bench.idle()
        assert bench.meter.outcomes == {"dead_letter": 5}

    async def test_what_finds_all_slots_publishing_waits(self) -> None:
        bench = Bench(scripted(lambda n, ctx: ctx.publish_raw("next", b"%d" % n)), slots=2)
        bench.publishes.gate = asyncio.Event()
        bench.receive_chunk(*chunk(bench, 4))
        await turns(3)
        assert bench.journal.count(("publish", "next")) == 2
        bench.publishes.gate.set()
        await bench.idle()
        assert [body for _, _, body, _ in bench.publishes.published] == [b"0", b"1", b"2", b"3"]

    async def test_whoever_is_told_of_outcomes_is_told_of_each(self) -> None:
        bench = Bench(scripted(Started()), is_observed=True)
        messages = chunk(bench, 3)
        bench.receive_chunk(*messages)
        await bench.idle()
        assert [delivery.message for delivery, _, _ in bench.told] == messages

    async def test_a_hook_gets_the_context_of_each(self) -> None:
        seen: list[tuple[str, str]] = []

        def hook(ctx: Context, verdict: Verdict, error: BaseException | None) -> None:
            seen.append((ctx.message_id, verdict.label))

        bench = Bench(scripted(Started()), hooks=[hook])
        messages = chunk(bench, 2)
        bench.receive_chunk(*messages)
        await bench.idle()
        assert seen == [(message.id.decode(), "success") for message in messages]


class TestNotFit:
    """Some messages must not start as fresh ones, and nor must those behind them, to keep the order."""

    async def test_after_half_a_lease_they_are_touched_and_looked_at_one_by_one(self) -> None:
        """The loop was blocked: nsqd may have delivered one of them again, in the same chunk."""
        started = Started()
        bench = Bench(scripted(started))
        messages = chunk(bench, 2, lease_s=60.0)
        again = bench.message(messages[0].body, id_=messages[0].id, attempts=2)
        bench.receive_chunk(*messages)
        bench.clock.s = 50.0
        bench.receive_chunk(again)
        await bench.idle()
        assert sorted(started.numbers) == [0, 1]
        assert bench.meter.outcomes == {"success": 2, "lease_lost": 1}

    async def test_a_redelivery_of_a_message_that_is_handled_waits_for_it(self) -> None:
        gate = asyncio.Event()
        started = Started(n0=gate)
        bench = Bench(scripted(started))
        (message,) = chunk(bench, 1)
        bench.receive_chunk(message)
        await turns()
        again = bench.message(message.body, id_=message.id, attempts=2)
        bench.receive_chunk(again)
        await turns()
        gate.set()
        await bench.idle()
        assert started.numbers == [0]
        assert again.answers == FIN

    async def test_a_delivery_whose_message_comes_again_before_it_is_settled_sends_no_answer(self) -> None:
        bench = Bench(scripted(Started()))
        message = bench.receive(b"nonsense")
        await turns()
        bench.receive(message.body, id_=message.id, attempts=2)
        await bench.idle()
        assert message.answers == []
        assert bench.meter.outcomes == {"lease_lost": 1, "dead_letter": 1}

    async def test_of_two_deliveries_of_a_message_in_one_chunk_the_first_is_lost(self) -> None:
        started = Started()
        bench = Bench(scripted(started))
        first, other = chunk(bench, 2)
        again = bench.message(first.body, id_=first.id, attempts=2)
        bench.receive_chunk(first, other, again)
        await bench.idle()
        assert sorted(started.numbers) == [0, 1]
        assert bench.meter.outcomes == {"success": 2, "lease_lost": 1}
        assert (first.answers, again.answers) == ([], FIN)

    async def test_a_retry_of_a_message_that_is_not_in_flight_is_handled_like_any_other(self) -> None:
        bench = Bench(scripted(Started()))
        link = bench.receive_chunk(*chunk(bench, 3, attempts=2))
        await bench.idle()
        assert [len(ids) for ids in link.finished] == [3]

    async def test_a_message_that_has_expired_is_not_handled(self) -> None:
        started = Started()
        bench = Bench(scripted(started), rules=Rules(POLICY, max_age_s=60, on_expired="discard"))
        messages = [
            bench.message(b'{"n": 0}'),
            bench.message(b'{"n": 1}', timestamp_ns=NOW_NS - 61 * 10**9),
            bench.message(b'{"n": 2}'),
        ]
        bench.receive_chunk(*messages)
        await bench.idle()
        assert started.numbers == [0, 2]
        assert bench.meter.outcomes == {"success": 2, "discard": 1}

    async def test_a_handler_that_takes_longer_than_the_lease_has_lost_it(self) -> None:
        bench = Bench(scripted(lambda _n, _ctx: bench.clock.__setattr__("s", bench.clock.s + 70.0)))
        bench.receive_chunk(*chunk(bench, 2, lease_s=60.0))
        await bench.idle()
        assert bench.meter.outcomes["lease_lost"] >= 1
        assert bench.meter.outcomes["success"] == 0


class TestInTurns:
    async def test_after_a_while_the_rest_waits_for_the_next_turn(self) -> None:
        """So heartbeats, TOUCH and other handlers come in between."""
        started = Started()

        def slow(n: int, ctx: Context) -> None:
            started(n, ctx)
            bench.clock.s += 0.6 * TURN_S

        bench = Bench(scripted(slow))
        link = bench.receive_chunk(*chunk(bench, 4))
        await asyncio.sleep(0)  # a turn of the loop has no event
        assert started.numbers == [0, 1]
        await bench.idle()
        assert [len(ids) for ids in link.finished] == [2, 2]

    async def test_handlers_that_wait_start_more_and_more_messages_in_a_turn(self) -> None:
        """So a chunk of them needs few turns of the loop, each of which costs system calls."""
        ends = asyncio.Event()
        started = Started(**{f"n{n}": lambda: ends for n in range(70)})
        bench = Bench(scripted(started), slots=100)
        bench.receive_chunk(*chunk(bench, 70))
        by_turn = []
        while len(started.numbers) < 70:
            await asyncio.sleep(0)  # a turn of the loop has no event
            by_turn.append(len(started.numbers))
        assert by_turn == [1, 3, 11, 43, 70]
        assert started.numbers == list(range(70))
        ends.set()
        await bench.idle()

    async def test_handlers_that_wait_do_not_start_beyond_the_slots(self) -> None:
        ends = asyncio.Event()
        started = Started(**{f"n{n}": lambda: ends for n in range(20)})
        bench = Bench(scripted(started), slots=5)
        bench.receive_chunk(*chunk(bench, 20))
        await turns(10)
        assert started.numbers == [0, 1, 2, 3, 4]
        ends.set()
        await bench.idle()
        assert started.numbers == list(range(20))

    async def test_handlers_that_work_before_they_wait_share_a_turn(self) -> None:
        ends = asyncio.Event()
        started = Started()

        def slow(n: int, ctx: Context) -> asyncio.Event:
            started(n, ctx)
            bench.clock.s += 0.6 * TURN_S
            return ends

        bench = Bench(scripted(slow), slots=20)
        bench.receive_chunk(*chunk(bench, 9))
        by_turn = []
        while len(started.numbers) < 9:
            await asyncio.sleep(0)  # a turn of the loop has no event
            by_turn.append(len(started.numbers))
        assert by_turn == [1, 3, 5, 7, 9]
        ends.set()
        await bench.idle()

    async def test_a_handler_that_shuts_the_gate_leaves_the_rest_waiting(self) -> None:
        started = Started()

        def shut(n: int, ctx: Context) -> None:
            started(n, ctx)
            if n == 1:
                bench.gate.shut(RequeueReason.PAUSED)

        bench = Bench(scripted(shut))
        link = bench.receive_chunk(*chunk(bench, 4))
        await turns()
        assert started.numbers == [0, 1]
        assert bench.intake.held == 2
        bench.gate.open(RequeueReason.PAUSED)
        await bench.idle()
        assert started.numbers == [0, 1, 2, 3]
        assert len(link.finished[0]) == 2

    async def test_a_kill_switch_counts_successes_too(self) -> None:
        switch = KillSwitch(failure_ratio=0.5, min_messages=4, window_s=60, open_s=30)
        bench = Bench(scripted(Started(n9=ValueError("x")), kill_switch=switch))
        bench.receive_chunk(*chunk(bench, 10))
        await bench.idle()
        assert bench.gate.is_open, "one of ten has failed"

    async def test_a_kill_switch_opens_before_the_rest_of_a_chunk_fails(self) -> None:
        switch = KillSwitch(failure_ratio=0.5, min_messages=4, window_s=60, open_s=30)
        started = Started(**{f"n{n}": ValueError("x") for n in range(10)})
        bench = Bench(scripted(started, kill_switch=switch))
        bench.receive_chunk(*chunk(bench, 10))
        await turns(5)
        assert started.numbers == [0, 1, 2, 3]
        assert not bench.gate.is_open
        bench.intake.stop()
        bench.intake.give_back()
        await bench.idle()

    async def test_a_stopped_intake_starts_nothing_and_gives_everything_back(self) -> None:
        started = Started()
        bench = Bench(scripted(started))
        messages = chunk(bench, 3)
        bench.receive_chunk(*messages)
        bench.intake.stop()
        bench.intake.give_back()
        await bench.idle()
        assert started.numbers == []
        assert [message.answers for message in messages] == [[("REQ", 0.0)]] * 3


class TestContext:
    """A Context is made of nothing but the message; its fields are there when one is read."""

    async def test_every_field_is_there(self) -> None:
        seen: list[Context] = []
        bench = Bench(scripted(lambda _n, ctx: seen.append(ctx)))
        (message,) = chunk(bench, 1, attempts=3)
        bench.receive_chunk(message)
        await bench.idle()
        (ctx,) = seen
        assert (ctx.topic, ctx.channel, ctx.attempts) == ("consumed", "work", 3)
        assert (ctx.message_id, ctx.body, ctx.nsqd) == (message.id.decode(), message.body, message.address)
        assert (ctx.timestamp_ns, ctx.event_id, ctx.envelope) == (NOW_NS, None, None)
        assert (ctx.cancelled, ctx.outgoing, ctx.resources) == (False, (), None)
        assert 0.0 < ctx.remaining_s() <= 60.0
        assert not ctx.lease_lost
        assert ctx.log is ctx.log
        assert repr(ctx).startswith("MessageContext(topic='consumed'")

    async def test_a_name_that_it_does_not_have_is_an_error(self) -> None:
        seen: list[Context] = []
        bench = Bench(scripted(lambda _n, ctx: seen.append(ctx)))
        bench.receive_chunk(*chunk(bench, 1))
        await bench.idle()
        with pytest.raises(AttributeError, match="canceled"):
            seen[0].canceled  # type: ignore[attr-defined]  # noqa: B018
        with pytest.raises(AttributeError, match="canceled"):
            seen[0].canceled = True  # type: ignore[attr-defined]
