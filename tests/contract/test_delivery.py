"""What happens to one message, end to end over TCP, on both engines (DESIGN section 2)."""

import asyncio
import base64
import json
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass

import pytest

from nsqkit import (
    Context,
    DeadLetter,
    Discard,
    Finish,
    Handler,
    Outcome,
    Pause,
    Requeue,
    event,
)
from tests.contract.conftest import TOPIC, WITH_LOOKUPD, Engine
from tests.contract.work import Asked, Seen, accounts, body, count, outcome, working
from tests.integration.conftest import StartNsqd
from tests.waiting import PATIENCE_S, turns, until


@event("contract.answered", version=1, topic="contract.answers")
@dataclass(frozen=True)
class Answered:
    n: int


@pytest.mark.promise("returned")
async def test_every_message_is_handled_once_and_finished(engine: Engine) -> None:
    seen = Seen()
    async with engine.worker(working(seen, max_in_flight=7)) as worker:
        await engine.publish(TOPIC, *map(body, range(200)))
        await engine.handled(TOPIC, "work", 200)
        assert seen.numbers == list(range(200))
        assert {attempts for _, attempts in seen.calls} == {1}
        await accounts(engine, worker)


@pytest.mark.promise("raised")
async def test_a_failing_message_comes_back_with_its_attempts_until_it_succeeds(engine: Engine) -> None:
    seen = Seen()

    def fail_twice(event: Asked, ctx: Context) -> None:
        seen(event, ctx)
        if ctx.attempts < 3:
            raise ConnectionError("the shop is closed")

    async with engine.worker(working(fail_twice)) as worker:
        await engine.publish(TOPIC, body(1))
        await engine.handled(TOPIC, "work", 1)
        assert seen.calls == [(1, 1), (1, 2), (1, 3)]
        assert outcome(worker, "success") == 1
        assert count(worker, "messages_requeued_total", reason="error") == 2
        await accounts(engine, worker)


@pytest.mark.promise("exhausted")
async def test_a_message_that_never_succeeds_is_a_dead_letter_that_others_can_read(engine: Engine) -> None:
    def fail(event: Asked, ctx: Context) -> None:
        raise ConnectionError("the shop is closed")

    async with engine.worker(working(fail)) as worker:
        await engine.publish(TOPIC, body(1, "ü"))
        await engine.handled(TOPIC, "work", 1)
        assert count(worker, "messages_dead_lettered_total", reason="exhausted") == 1
        await accounts(engine, worker)
    (message,) = await engine.read(f"{TOPIC}.work.dead", "dead", 1)
    record = json.loads(message.body)
    assert record["body"].encode() == body(1, "ü")
    assert record["stack"].startswith("Traceback")
    known = {
        name: record[name] for name in ("type", "reason", "error_type", "detail", "attempts", "event_type")
    }
    assert known == {
        "type": "nsqkit.dead_letter.v1",
        "reason": "exhausted",
        "error_type": "ConnectionError",
        "detail": "ConnectionError: the shop is closed",
        "attempts": 3,
        "event_type": "contract.asked.v1",
    }


@pytest.mark.promise("undecodable")
@pytest.mark.parametrize("raw", [b"nonsense", b'{"n": "one"}', b"\xff\xfe\x00", b"[]"])
async def test_an_undecodable_body_is_a_dead_letter_at_its_first_delivery(engine: Engine, raw: bytes) -> None:
    seen = Seen()
    async with engine.worker(working(seen)) as worker:
        await engine.publish(TOPIC, raw, body(2))
        await engine.handled(TOPIC, "work", 2)
        assert seen.calls == [(2, 1)]
        await accounts(engine, worker)
    (message,) = await engine.read(f"{TOPIC}.work.dead", "dead", 1)
    record = json.loads(message.body)
    kept = record["body"].encode() if record["body"] is not None else base64.b64decode(record["body_base64"])
    assert kept == raw
    assert (record["reason"], record["attempts"]) == ("undecodable", 1)


@pytest.mark.promise("outcome")
async def test_each_outcome_is_carried_out(engine: Engine) -> None:
    def choose(event: Asked, ctx: Context) -> Outcome | None:
        if ctx.attempts > 1:
            return None
        outcomes: dict[str, Outcome] = {
            "finish": Finish(),
            "requeue": Requeue(0.05),
            "dead": DeadLetter("bad"),
            "drop": Discard("x"),
        }
        return outcomes[event.what]

    async with engine.worker(working(choose)) as worker:
        await engine.publish(TOPIC, body(1, "finish"), body(2, "requeue"), body(3, "dead"), body(4, "drop"))
        await engine.handled(TOPIC, "work", 4)
        ends = [outcome(worker, name) for name in ("success", "requeue", "dead_letter", "discard")]
        assert ends == [2, 1, 1, 1]
        assert count(worker, "messages_requeued_total", reason="requested") == 1
        assert count(worker, "messages_dead_lettered_total", reason="requested") == 1
        await accounts(engine, worker)


@pytest.mark.promise("unknown type")
async def test_an_unknown_type_goes_the_way_that_was_chosen(engine: Engine) -> None:
    envelope = {"specversion": "1.0", "type": "contract.asked.v9", "source": "s", "id": "1", "data": {}}
    async with engine.worker(working(Seen(), on_unknown="dead_letter")) as worker:
        await engine.publish(TOPIC, json.dumps(envelope).encode())
        await engine.handled(TOPIC, "work", 1)
        assert count(worker, "messages_dead_lettered_total", reason="unknown_type") == 1
        await accounts(engine, worker)


@pytest.mark.promise("timeout")
async def test_a_handler_past_its_timeout_is_requeued(engine: Engine) -> None:
    async def hang_once(event: Asked, ctx: Context) -> None:
        if ctx.attempts == 1:
            await asyncio.Event().wait()

    async with engine.worker(working(hang_once, timeout_s=0.05)) as worker:
        await engine.publish(TOPIC, body(1))
        await engine.handled(TOPIC, "work", 1)
        assert count(worker, "messages_requeued_total", reason="timeout") == 1
        await accounts(engine, worker)


async def test_plain_handlers_run_side_by_side_in_their_threads(engine: Engine) -> None:
    together = threading.Barrier(3)

    class Work(Handler[Asked], channel="work", threads=3, dead_letters=False):
        def handle(self, event: Asked, ctx: Context) -> None:
            together.wait(PATIENCE_S)

    async with engine.worker(Work) as worker:
        await engine.publish(TOPIC, *map(body, range(9)))
        await engine.handled(TOPIC, "work", 9)
        assert outcome(worker, "success") == 9
        await accounts(engine, worker)


@pytest.mark.promise("kept waiting")
async def test_a_pause_stops_the_intake_and_afterwards_everything_is_handled(engine: Engine) -> None:
    for_s = 0.5
    paused_s: list[float] = []
    later: list[tuple[int, float]] = []

    def pause_once(event: Asked, ctx: Context) -> Outcome | None:
        if event.n == 0 and not paused_s:
            paused_s.append(time.monotonic())
            return Pause(for_s)
        later.append((event.n, time.monotonic()))
        return None

    async with engine.worker(working(pause_once)) as worker:
        await engine.publish(TOPIC, body(0))
        await engine.until(TOPIC, "work", lambda stats: stats["requeue_count"] == 1)
        await engine.publish(TOPIC, *map(body, range(1, 6)))
        await engine.handled(TOPIC, "work", 6)
        assert sorted(n for n, _ in later) == [0, 1, 2, 3, 4, 5]
        assert min(at_s for _, at_s in later) >= paused_s[0] + for_s, "none is early"
        assert count(worker, "messages_requeued_total", reason="paused") >= 1
        await accounts(engine, worker)


async def test_a_replayed_message_reaches_this_handler_only_and_counts_as_its_source_topics(
    engine: Engine,
) -> None:
    seen, other = Seen(), Seen()
    topics: list[str] = []

    def note(event: Asked, ctx: Context) -> None:
        seen(event, ctx)
        topics.append(ctx.topic)

    async with engine.worker(working(note), working(other, "other")) as worker:
        await engine.publish(f"{TOPIC}.work.retry", body(1))
        await engine.handled(f"{TOPIC}.work.retry", "work", 1)
        assert seen.calls == [(1, 1)]
        assert other.calls == []
        assert topics == [TOPIC]
        assert outcome(worker, "success") == 1
        await accounts(engine, worker, retries=True)


async def test_each_channel_gets_its_own_copy_and_fails_alone(engine: Engine) -> None:
    good, bad = Seen(), Seen()

    def fail_once(event: Asked, ctx: Context) -> None:
        bad(event, ctx)
        if ctx.attempts == 1:
            raise ValueError

    async with engine.worker(working(good), working(fail_once, "other")) as worker:
        await engine.publish(TOPIC, *map(body, range(10)))
        await engine.handled(TOPIC, "work", 10)
        await engine.handled(TOPIC, "other", 10)
        assert good.numbers == list(range(10))
        assert bad.numbers == sorted([*range(10), *range(10)])
        await accounts(engine, worker)
        await accounts(engine, worker, "other")


async def test_what_a_handler_publishes_reaches_the_next_handler_once_it_has_succeeded(
    engine: Engine,
) -> None:
    answers: list[tuple[int, str | None]] = []

    def ask(event: Asked, ctx: Context) -> None:
        ctx.publish(Answered(event.n * 10))
        if ctx.attempts == 1:
            raise ValueError("nothing of this delivery goes out")

    class Listen(Handler[Answered], channel="listen"):
        async def handle(self, event: Answered, ctx: Context) -> None:
            answers.append((event.n, ctx.event_id))

    async with engine.worker(working(ask), Listen, service="shop") as worker:
        await engine.publish(TOPIC, body(1), body(2))
        await engine.handled(TOPIC, "work", 2)
        await engine.handled("contract.answers", "listen", 2)
        assert sorted(n for n, _ in answers) == [10, 20]
        assert len({event_id for _, event_id in answers}) == 2
        await accounts(engine, worker)


@pytest.mark.promise("drain")
async def test_a_stop_lets_the_running_end_and_gives_the_rest_back(engine: Engine) -> None:
    """Nothing is lost: each message has succeeded once, or is in the channel for the next worker."""
    total, slots = 50, 5
    inside, leave = asyncio.Semaphore(0), asyncio.Event()
    done: list[int] = []

    async def hold(event: Asked, ctx: Context) -> None:
        inside.release()
        await leave.wait()
        done.append(event.n)

    async with engine.worker(working(hold, max_in_flight=slots, dead_letters=False)) as worker:
        await engine.publish(TOPIC, *map(body, range(total)))
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(slots):
                await inside.acquire()
        stopping = asyncio.create_task(worker.stop())
        await turns()
        leave.set()
        await stopping
        assert worker.left_behind == 0
        assert len(done) == outcome(worker, "success") == slots
        stats = await engine.until(TOPIC, "work", lambda stats: stats["client_count"] == 0)
        assert (stats["depth"], stats["in_flight_count"], stats["timeout_count"]) == (total - slots, 0, 0)
    rest = Seen()
    async with engine.worker(working(rest)):
        await engine.handled(TOPIC, "work", total)
    assert sorted([*done, *rest.numbers]) == list(range(total))


@pytest.mark.promise("drain")
async def test_past_the_grace_period_what_still_runs_is_given_back(engine: Engine) -> None:
    inside = asyncio.Event()

    async def hang(event: Asked, ctx: Context) -> None:
        inside.set()
        await asyncio.Event().wait()

    async with engine.worker(working(hang), grace_s=0.05) as worker:
        await engine.publish(TOPIC, body(1))
        async with asyncio.timeout(PATIENCE_S):
            await inside.wait()
        await worker.stop()
        assert worker.left_behind == 0
        assert count(worker, "messages_requeued_total", reason="shutdown") == 1
        stats = await engine.channel(TOPIC, "work")
        assert (stats["depth"], stats["in_flight_count"], stats["requeue_count"]) == (1, 0, 1)


@pytest.mark.parametrize("engine", WITH_LOOKUPD, indirect=True)
async def test_the_accounting_holds_and_nsqd_agrees(engine: Engine) -> None:
    """Received is the sum of the outcomes; nsqd counts the same messages, requeues, and no timeout."""
    tries: Counter[int] = Counter()
    ends: defaultdict[int, Counter[str]] = defaultdict(Counter)

    def behave(event: Asked, ctx: Context) -> Outcome | None:
        tries[event.n] += 1
        assert ctx.attempts == tries[event.n]
        match event.n % 7:
            case 0:
                raise ValueError("always")
            case 1 if ctx.attempts == 1:
                raise ValueError("once")
            case 2 if ctx.attempts == 1:
                return Requeue(0.01)
            case 3:
                return DeadLetter("bad")
            case 4:
                return Discard("old")
        ends[event.n]["success"] += 1
        return None

    total = 700
    async with engine.worker(working(behave, max_in_flight=50), working(Seen(), "other")) as worker:
        await engine.publish(TOPIC, *map(body, range(total)), *[b"nonsense"] * 50)
        await engine.handled(TOPIC, "work", total + 50)
        await engine.handled(TOPIC, "other", total + 50)
        await accounts(engine, worker)
        await accounts(engine, worker, "other")
        shares = [outcome(worker, name) for name in ("success", "requeue", "dead_letter", "discard")]
        assert shares == [400, 400, 250, 100]
        assert outcome(worker, "dead_letter", "other") == 50
        assert all(each == {"success": 1} for each in ends.values())
    dead = await engine.read(f"{TOPIC}.work.dead", "dead", 250)
    reasons = Counter(json.loads(message.body)["reason"] for message in dead)
    assert reasons == {"exhausted": 100, "requested": 100, "undecodable": 50}


@pytest.mark.promise("connection lost")
@pytest.mark.nsqd
async def test_a_handler_whose_nsqd_goes_away_has_lost_its_lease_and_the_message_comes_again(
    start_nsqd: StartNsqd,
) -> None:
    nsqd = start_nsqd()
    engine = Engine(nsqd.tcp_address, nsqd.http_address)
    inside, leave = asyncio.Event(), asyncio.Event()
    seen = Seen()

    async def hold_first(event: Asked, ctx: Context) -> None:
        seen(event, ctx)
        inside.set()
        await leave.wait()

    async with engine.worker(working(hold_first)) as worker:
        await engine.publish(TOPIC, body(1))
        async with asyncio.timeout(PATIENCE_S):
            await inside.wait()
        nsqd.stop()
        await until(lambda: bool(worker.problems()))
        leave.set()
        await until(lambda: outcome(worker, "lease_lost") == 1)
        nsqd.start()
        await until(lambda: outcome(worker, "success") == 1)
        assert [n for n, _ in seen.calls] == [1, 1]
        assert count(worker, "messages_received_total") == 2
    await engine.close()
