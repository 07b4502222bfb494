"""What happens to the messages of a batch, end to end: on the ledger, and over TCP on both brokers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, cast

import pytest

from nsqkit import (
    BatchHandler,
    DeadLetter,
    Delivery,
    Discard,
    Exponential,
    Outcome,
    Requeue,
    RetryPolicy,
    Worker,
    event,
)
from nsqkit.devbroker import DevBroker
from nsqkit.testing import Harness
from tests.contract.conftest import ENGINES, Engine
from tests.waiting import PATIENCE_S, until

TOPIC = "contract"
QUICK = RetryPolicy(max_attempts=3, backoff=Exponential(base_s=0.05, factor=1, max_s=0.05, jitter="none"))


@event("contract.batched", version=1)  # without a topic: other tests have theirs on it
@dataclass(frozen=True)
class Batched:
    n: int


Batch = Sequence[Delivery[Batched]]
Behave = Callable[[Batch], Awaitable[Any]]


def batching(behave: Behave, **options: Any) -> type[BatchHandler[Batched]]:
    """Return a batch handler class that does as it is told."""
    defaults = {"topic": TOPIC, "channel": "work", "retry": QUICK, "on_unknown": "discard", "max_wait_s": 0.2}

    class Work(BatchHandler[Batched], **(defaults | options)):
        async def handle(self, batch: Batch) -> Mapping[str, Outcome] | None:
            return cast("Mapping[str, Outcome] | None", await behave(batch))

    return Work


def numbers(batch: Batch) -> list[int]:
    return [delivery.event.n for delivery in batch]


def body(n: int) -> bytes:
    return json.dumps({"n": n}).encode()


def shown(worker: Worker, name: str, **labels: str) -> int:
    """Return what /metrics shows of the handler ``Work``."""
    handler = {"topic": TOPIC, "channel": "work", "handler": "Work"}
    value = worker.metrics.registry.get_sample_value(f"nsqkit_{name}", handler | labels)
    assert value is not None, f"no metric {name} {labels}"
    return int(value)


def outcome(worker: Worker, name: str) -> int:
    return shown(worker, "messages_processed_total", outcome=name)


class Partial:
    """Names outcomes for some messages of a batch, each once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._ends: dict[int, Outcome] = {1: Requeue(0.05), 2: Discard("old"), 3: DeadLetter("bad")}

    async def __call__(self, batch: Batch) -> Mapping[str, Outcome]:
        self.sizes.append(len(batch))
        return {each.key: self._ends.pop(each.event.n) for each in batch if each.event.n in self._ends}


class Poisoned:
    """Fails whenever one event is among those it is called with."""

    def __init__(self, poison: int) -> None:
        self.calls: list[list[int]] = []
        self.handled: list[int] = []
        self._poison = poison

    async def __call__(self, batch: Batch) -> None:
        self.calls.append(numbers(batch))
        if self._poison in numbers(batch):
            raise ValueError("poison")
        self.handled += numbers(batch)


async def test_on_the_ledger_each_message_has_the_outcome_that_is_named() -> None:
    partial = Partial()
    handler = batching(partial, max_messages=10)
    async with Harness([handler]) as h:
        for n in range(10):
            await h.publish(Batched(n), topic=TOPIC)
        await h.settle(through_delays=True)
        h.handled(by=handler).times(8)
        h.requeued(Batched(1), delay_s=0.05, reason="requested").once()
        h.discarded(Batched(2)).once()
        h.dead_lettered(Batched(3), reason="requested").once()
    assert partial.sizes == [10, 1]


async def test_on_the_ledger_a_poison_among_a_hundred_is_found() -> None:
    poisoned = Poisoned(50)
    handler = batching(poisoned, max_messages=100)
    async with Harness([handler]) as h:
        for n in range(100):
            await h.publish(Batched(n), topic=TOPIC)
        await h.settle(through_delays=True)
        h.dead_lettered(Batched(50), reason="exhausted").once()
        h.dead_lettered().times(1)
        h.requeued().times(2)
        h.handled().times(99)


async def test_on_the_ledger_what_a_lost_connection_held_comes_again() -> None:
    calls: list[list[int]] = []

    async def note(batch: Batch) -> None:
        calls.append(numbers(batch))

    handler = batching(note, max_messages=10, max_wait_s=2.0)
    async with Harness([handler]) as h:
        await h.publish(Batched(1), topic=TOPIC)
        h.clock.advance(1)
        await asyncio.sleep(1)  # half of max_wait_s, in virtual time
        h.drop_connection()
        await h.publish(Batched(2), topic=TOPIC)
        await h.settle(through_delays=True)
        h.lost(Batched(1)).once()
        h.handled(Batched(1)).once()
        h.handled(Batched(2)).once()
    assert calls == [[2], [1]]


async def test_each_message_has_the_outcome_that_is_named(engine: Engine) -> None:
    partial = Partial()
    async with engine.worker(batching(partial, max_messages=10)) as worker:
        await engine.publish(TOPIC, *map(body, range(10)))
        stats = await engine.handled(TOPIC, "work", 10)
        assert (stats["requeue_count"], stats["timeout_count"]) == (1, 0)
        await until(lambda: outcome(worker, "success") == 8)
        assert (outcome(worker, "requeue"), outcome(worker, "discard")) == (1, 1)
        assert shown(worker, "messages_dead_lettered_total", reason="requested") == 1
        assert sum(partial.sizes) == 11


async def test_a_poison_among_a_hundred_is_found_by_single_reruns_and_fails_by_itself(
    engine: Engine,
) -> None:
    poisoned = Poisoned(50)
    async with engine.worker(batching(poisoned, max_messages=100, max_wait_s=1.0)) as worker:
        await engine.publish(TOPIC, *map(body, range(100)))
        stats = await engine.handled(TOPIC, "work", 100)
        assert (stats["requeue_count"], stats["timeout_count"]) == (2, 0)
        assert (outcome(worker, "success"), outcome(worker, "dead_letter")) == (99, 1)
        assert sorted(poisoned.handled) == [n for n in range(100) if n != 50], "each of them once"
        assert max(map(len, poisoned.calls)) == 100, "there was one full batch, and it failed"
    (message,) = await engine.read(f"{TOPIC}.work.dead", "dead", 1)
    record = json.loads(message.body)
    assert (json.loads(record["body"])["n"], record["reason"], record["attempts"]) == (50, "exhausted", 3)


async def test_batches_are_full_where_there_is_enough_to_do(engine: Engine) -> None:
    sizes: list[int] = []

    async def note(batch: Batch) -> None:
        sizes.append(len(batch))

    async with engine.worker(batching(note, max_messages=50, max_wait_s=5.0)):
        await engine.publish(TOPIC, *map(body, range(1000)))
        await engine.handled(TOPIC, "work", 1000)
    assert sizes == [50] * 20


async def test_a_drain_lets_a_batch_end_and_gives_a_partial_one_back(engine: Engine) -> None:
    inside, leave = asyncio.Event(), asyncio.Event()
    handled: list[int] = []

    async def hold(batch: Batch) -> None:
        inside.set()
        await leave.wait()
        handled.extend(numbers(batch))

    handler = batching(hold, max_messages=10, max_in_flight=15, max_wait_s=60.0, dead_letters=False)
    async with engine.worker(handler) as worker:
        await engine.publish(TOPIC, *map(body, range(15)))
        async with asyncio.timeout(PATIENCE_S):
            await inside.wait()
        await until(lambda: shown(worker, "in_flight") == 15)
        stopping = asyncio.create_task(worker.stop())
        await until(lambda: shown(worker, "messages_requeued_total", reason="shutdown") == 5)
        assert not stopping.done()
        leave.set()
        await stopping
        assert (worker.left_behind, outcome(worker, "success")) == (0, 10)
        stats = await engine.until(TOPIC, "work", lambda stats: stats["client_count"] == 0)
        assert (stats["depth"], stats["in_flight_count"], stats["timeout_count"]) == (5, 0, 0)
    rest: list[int] = []

    async def take(batch: Batch) -> None:
        rest.extend(numbers(batch))

    async with engine.worker(batching(take, max_messages=10)):
        await engine.handled(TOPIC, "work", 15)
    assert sorted([*handled, *rest]) == list(range(15))


async def test_past_the_grace_period_a_batch_is_cancelled_and_given_back(engine: Engine) -> None:
    inside, ended = asyncio.Event(), asyncio.Event()

    async def hang(batch: Batch) -> None:
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)  # the handler's clean-up takes a while
            ended.set()

    async with engine.worker(batching(hang, max_messages=3), grace_s=0.05) as worker:
        await engine.publish(TOPIC, *map(body, range(3)))
        async with asyncio.timeout(PATIENCE_S):
            await inside.wait()
        await worker.stop()
        assert ended.is_set(), "what it held is given back when it has ended"
        assert worker.left_behind == 0
        assert shown(worker, "messages_requeued_total", reason="shutdown") == 3
        stats = await engine.channel(TOPIC, "work")
        assert (stats["depth"], stats["in_flight_count"], stats["requeue_count"]) == (3, 0, 3)


@dataclass
class Pair:
    """Two engines, of which the second can be stopped."""

    first: Engine
    second: Engine
    stop_second: Callable[[], Awaitable[None]]


@pytest.fixture(params=ENGINES)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        if request.param == "devbroker":
            brokers = [DevBroker(tcp_port=0, http_port=0) for _ in range(2)]
            for broker in brokers:
                await broker.start()
                stack.push_async_callback(broker.stop)
            first, second = [Engine(broker.tcp_address, broker.http_address) for broker in brokers]
            stop = brokers[1].stop
        else:
            start = request.getfixturevalue("start_nsqd")
            servers = [start() for _ in range(2)]
            first, second = [Engine(server.tcp_address, server.http_address) for server in servers]

            async def stop() -> None:
                await asyncio.to_thread(servers[1].stop)

        for engine in (first, second):
            stack.push_async_callback(engine.close)
        yield Pair(first, second, stop)


async def test_a_lost_nsqd_drops_only_its_own_messages_of_a_batch(pair: Pair) -> None:
    inside, leave = asyncio.Event(), asyncio.Event()
    batches: list[list[int]] = []

    async def hold(batch: Batch) -> None:
        batches.append(numbers(batch))
        inside.set()
        await leave.wait()

    addresses = (pair.first.tcp_address, pair.second.tcp_address)
    async with pair.first.worker(batching(hold, max_messages=10, max_wait_s=30.0), nsqd=addresses) as worker:
        await pair.first.publish(TOPIC, *map(body, range(5)))
        await pair.second.publish(TOPIC, *map(body, range(5, 10)))
        async with asyncio.timeout(PATIENCE_S):
            await inside.wait()
        await pair.stop_second()
        await until(lambda: bool(worker.problems()))
        leave.set()
        await until(lambda: outcome(worker, "success") == 5)
        await until(lambda: outcome(worker, "lease_lost") == 5)
        assert [sorted(found) for found in batches] == [list(range(10))]
        stats = await pair.first.handled(TOPIC, "work", 5)
        assert (stats["requeue_count"], stats["timeout_count"]) == (0, 0)


async def test_a_lost_nsqd_takes_its_own_messages_out_of_a_batch_that_gathers(pair: Pair) -> None:
    batches: list[list[int]] = []

    async def note(batch: Batch) -> None:
        batches.append(numbers(batch))

    addresses = (pair.first.tcp_address, pair.second.tcp_address)
    async with pair.first.worker(batching(note, max_messages=10, max_wait_s=1.0), nsqd=addresses) as worker:
        await pair.first.publish(TOPIC, *map(body, range(4)))
        await pair.second.publish(TOPIC, *map(body, range(5, 9)))
        await until(lambda: shown(worker, "in_flight") == 8)
        await pair.stop_second()
        await until(lambda: outcome(worker, "success") == 4)
        assert outcome(worker, "lease_lost") == 4
        assert [sorted(found) for found in batches] == [list(range(4))]


async def test_one_nsqd_alone_fills_batches_while_another_has_nothing(pair: Pair) -> None:
    sizes: list[int] = []

    async def note(batch: Batch) -> None:
        sizes.append(len(batch))

    addresses = (pair.first.tcp_address, pair.second.tcp_address)
    async with pair.first.worker(batching(note, max_messages=50, max_wait_s=60.0), nsqd=addresses):
        await pair.first.publish(TOPIC, *map(body, range(500)))
        await pair.first.handled(TOPIC, "work", 500)
    assert sizes == [50] * 10
