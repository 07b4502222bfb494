"""Defects found in review before the first release, one test each; they move to the mirror files in time."""

import asyncio
import json
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nsqkit import (
    BlockingPublisher,
    Context,
    DeadLetter,
    Discard,
    Finish,
    Handler,
    Next,
    Outcome,
    Pause,
    Publisher,
    PublishError,
    RetryPolicy,
    Settings,
    Worker,
    resource,
)
from nsqkit.devbroker import DevBroker
from nsqkit.errors import ConnectionLostError
from nsqkit.loading.loader import LoadedModules
from nsqkit.nsq import ConnectionOptions
from nsqkit.nsq.consumer import Consumer
from nsqkit.nsq.consumer_options import ConsumerOptions
from nsqkit.nsq.dial import dial
from nsqkit.nsq.discovery import Endpoints
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.lookup import Lookup
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.ops.feed import Feed
from nsqkit.policy.verdict import RequeueReason, Rules
from nsqkit.process.run import Run
from nsqkit.process.targets import Loaded
from nsqkit.program import unless
from nsqkit.runtime.failure import STACK_LIMIT, stack_of
from nsqkit.testing.clock import VirtualClock
from tests.unit.reading import topics
from tests.unit.runtime.bench import (
    BACKOFF,
    POLICY,
    Bench,
    Happened,
    RecordingLog,
    asynchronous,
    ending,
    plain,
    unconfirmed,
    until,
)
from tests.waiting import PATIENCE_S, turns, until_blocking

NOBODY = "127.0.0.1:1"


class TestEventsOfASuccess:
    """What a handler publishes is never lost, whatever its rules say about errors of its own."""

    @pytest.mark.parametrize("outcome", [Finish(), Discard(), DeadLetter("x"), Pause(5)])
    async def test_no_rule_decides_about_an_event_that_nsqd_did_not_confirm(self, outcome: Outcome) -> None:
        async def behave(_: Happened, ctx: Context) -> None:
            ctx.publish(Happened(2))

        retry = RetryPolicy(max_attempts=5, backoff=BACKOFF, on={Exception: outcome})
        bench = Bench(asynchronous(behave, retry=retry))
        bench.publishes.failures.append(unconfirmed())
        message = await bench.run()
        assert (bench.outcome, bench.reason) == ("requeue", "error")
        assert message.answers == [("REQ", 2.0)]
        assert bench.gate.is_open


class TestPause:
    """A pause protects what the handler depends on, whatever becomes of the one message."""

    async def test_it_holds_when_the_connection_is_lost(self) -> None:
        bench = Bench(ending(Pause(30)))
        await bench.run(is_connected=False)
        assert bench.outcome == "lease_lost"
        assert bench.gate.reason == "paused"

    async def test_it_holds_when_the_lease_is_over(self) -> None:
        async def outlast(_: Happened, ctx: Context) -> Outcome:
            bench.clock.s += 59.0
            return Pause(30)

        bench = Bench(asynchronous(outlast))
        await bench.run()
        assert bench.outcome == "lease_lost"
        assert bench.gate.reason == "paused"

    async def test_what_it_gives_back_waits_no_longer_than_nsqd_is_asked_for(
        self, hours: VirtualClock
    ) -> None:
        bench = Bench(ending(None), rules=Rules(POLICY, max_delay_s=900.0), now_s=hours.now_s)
        bench.gate.shut(RequeueReason.PAUSED, 7200.0)
        message = await bench.run()
        assert message.answers == [("REQ", 900.0)]


async def test_a_lost_lease_still_says_what_the_handler_failed_of() -> None:
    bench = Bench(ending(ValueError("no such sku")))
    await bench.run(is_connected=False)
    (line,) = bench.log.settled()
    assert line["outcome"] == "lease_lost"
    assert "no such sku" in line["detail"]


class TestCancelAtTheEndOfTheGrace:
    """Whatever does not run in a thread ends."""

    @pytest.mark.parametrize("run_on_loop", [True, False])
    async def test_a_middleware_that_hangs_before_a_plain_handler(self, run_on_loop: bool) -> None:  # noqa: FBT001
        entered = asyncio.Event()

        async def hang(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            entered.set()
            await asyncio.Event().wait()
            raise AssertionError

        bench = Bench(plain(lambda _, ctx: None, run_on_loop=run_on_loop), middleware=[hang])
        message = bench.receive()
        await entered.wait()
        bench.intake.stop()
        bench.intake.cancel()
        await bench.idle()
        assert message.answers == [("REQ", 0.0)]

    async def test_a_call_in_a_thread_is_not_cancelled(self) -> None:
        inside, let_out = threading.Event(), threading.Event()

        def wait(_: Happened, ctx: Context) -> None:
            inside.set()
            let_out.wait(PATIENCE_S)

        bench = Bench(plain(wait))
        message = bench.receive()
        await until(inside.is_set)
        bench.intake.stop()
        bench.intake.cancel()
        let_out.set()
        await bench.idle()
        assert message.answers == [("FIN",)]


async def test_a_plain_handler_that_waited_for_its_thread_is_timed_as_its_context_says() -> None:
    def until_told(_: Happened, ctx: Context) -> None:
        until_blocking(lambda: ctx.cancelled)
        raise ValueError("told to end")

    bench = Bench(plain(until_told, timeout_s=0.2), now_s=time.monotonic)
    executor = bench.dispatcher._caller.pool
    assert executor is not None
    for _ in range(10):
        executor.submit(time.sleep, 0.1)
    await bench.run()
    assert bench.reason == "timeout"


def test_a_secret_is_found_also_where_the_stack_is_cut_inside_its_name() -> None:
    def fail(text: str) -> None:
        raise ValueError(text)

    secret = "password=hunter2 "
    for kept in range(len("word=hunter2 "), len(secret) + 1):  # characters of it that come before the cut
        with pytest.raises(ValueError, match="password") as caught:
            fail(secret + "x" * (STACK_LIMIT - kept - 1))
        assert "hunter2" not in stack_of(caught.value)


class TestPublisherFailover:
    """Publishes that fail beside each other move on together."""

    async def test_all_reach_the_nsqd_that_is_there(self, broker: DevBroker) -> None:
        async with Publisher([NOBODY, broker.tcp_address]) as publisher:
            await asyncio.gather(*(publisher.publish_raw("failover", b"x") for _ in range(4)))
        found = await topics(broker.http_address)
        assert found["failover"]["message_count"] == 4


class TestBlockingPublisherClose:
    """A close beside publishes of other threads hangs nobody."""

    def test_every_publish_ends(self, threaded_broker: DevBroker) -> None:
        def publish_on(publisher: BlockingPublisher) -> None:
            try:
                while True:
                    publisher.publish_raw("closing", b"x")
            except (RuntimeError, PublishError):
                return

        for _ in range(20):
            publisher = BlockingPublisher(threaded_broker.tcp_address)
            publisher.publish_raw("closing", b"x")
            threads = [threading.Thread(target=publish_on, args=(publisher,), daemon=True) for _ in range(3)]
            closers = [threading.Thread(target=publisher.close, daemon=True) for _ in range(2)]
            for thread in threads:
                thread.start()
            time.sleep(0.003)  # any moment in the middle of publishes will do
            for thread in closers:
                thread.start()
            for thread in (*threads, *closers):
                thread.join(PATIENCE_S)
                assert not thread.is_alive()


@asynccontextmanager
async def deaf_to(command: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """The address of an nsqd that never answers one command, and how often it has read that one."""
    heard: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readexactly(4)
        while line := await reader.readline():
            if line.startswith(b"IDENTIFY"):
                await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])
                answer = json.dumps({"max_rdy_count": 2500}).encode()
                writer.write(struct.pack(">ii", 4 + len(answer), 0) + answer)
            elif line.startswith(command):
                heard.append(line)
            else:
                writer.write(struct.pack(">ii", 6, 0) + b"OK")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}", heard
    finally:
        server.close()
        for writer in writers:
            writer.close()


class TestPublisherPool:
    """It ends what it began, in time."""

    async def test_a_channel_that_nsqd_does_not_make_is_given_up_by_all_who_wait_for_it(self) -> None:
        publishers = PublisherPool(ConnectionOptions(), publish_timeout_s=0.2)
        async with deaf_to(b"SUB") as (address, heard), asyncio.timeout(PATIENCE_S):
            failures = await asyncio.gather(
                *(publishers.ensure_channel(address, "t", "c") for _ in range(5)), return_exceptions=True
            )
            assert len(heard) < len(failures), "one after the other, each for its whole time"
        assert all(isinstance(failure, PublishError) and not failure.permanent for failure in failures)

    async def test_a_publish_to_a_new_nsqd_while_it_closes_is_refused(self, broker: DevBroker) -> None:
        publishers = PublisherPool(ConnectionOptions(), publish_timeout_s=PATIENCE_S)
        async with deaf_to(b"PUB") as (address, heard):
            under_way = asyncio.create_task(publishers.publish(address, "t", b"x"))
            await until(lambda: bool(heard))
            closing = asyncio.create_task(publishers.close())
            await turns()
            with pytest.raises(PublishError, match="closed"):
                await publishers.publish(broker.tcp_address, "t", b"x")
        await closing
        with pytest.raises(PublishError):
            await under_way


async def test_a_silent_nsqlookupd_holds_up_no_answer_of_another() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps({"producers": [{"broadcast_address": "h", "tcp_port": 1, "http_port": 2}]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    servers = [await asyncio.start_server(each, "127.0.0.1", 0) for each in (answer, say_nothing)]
    addresses = [f"127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
    lookup = Lookup(addresses, timeout_s=2.0)
    results = await asyncio.gather(*(lookup.producers(f"t{n}") for n in range(30)))
    assert all(result.nodes for result in results)
    for server in servers:
        server.close()


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.example"])
class TestHostNamesThatCannotBe:
    """They are failures of the network's like any other."""

    async def test_dialling_one_is_an_os_error(self, host: str) -> None:
        with pytest.raises(OSError, match="not a host name"):
            await dial(host, 4150, 1.0)

    async def test_a_consumer_names_it_and_keeps_trying(self, host: str) -> None:
        log: Any = RecordingLog()
        consumer = Consumer(
            ConsumerOptions(topics=("t",), channel="c", connection=ConnectionOptions(), max_in_flight=1),
            Endpoints((f"{host}:4150",)),
            on_messages=lambda _: None, on_settle_failure=lambda _: None, log=log,
        )  # fmt: skip
        consumer.start()
        await until(lambda: bool(log.lines))
        assert "not a host name" in consumer.problems[0]
        await consumer.close(1.0)


async def test_a_feed_learns_from_nsqd_how_long_a_line_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def limit(_: Settings) -> int:
        return 20

    class Taking(PublisherPool):
        async def publish_many(self, address: str, topic: str, bodies: Any) -> None:
            taken.extend(bodies)

    taken: list[bytes] = []
    monkeypatch.setattr("nsqkit.ops.feed.message_limit", limit)
    path = tmp_path / "feed.jsonl"
    path.write_bytes(b'{"n": 1}\n{"long": "xxxxxxxxxxxx"}\n{"n": 2}\n')
    publishers = Taking(ConnectionOptions())
    report = await Feed("t", path, publishers=publishers, address=NOBODY, settings=Settings()).run()
    assert taken == [b'{"n": 1}', b'{"n": 2}']
    assert report.refused == ((2, "24 bytes; nsqd takes 20 (its --max-msg-size)"),)


async def test_an_nsqd_that_misses_one_look_does_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Idle:
        subscribed = (("t", "c"),)
        held = 0
        next_requeue_s = None
        is_blocked = False

    looks: Iterator[Any] = iter(
        [{"topics": None}, ConnectionLostError("x", "no answer in time"), *[{"topics": None}] * 3]
    )

    async def read_stats(_: NsqdHttp, read: Callable[[Any], Any]) -> Any:
        look = next(looks)
        if isinstance(look, Exception):
            raise look
        return read(look)

    monkeypatch.setattr(NsqdHttp, "read_stats", read_stats)
    monkeypatch.setattr("nsqkit.nsq.idle.INTERVAL_S", 0.0)
    run = Run(["unused"], Settings(nsqd=(NOBODY,), nsqd_http=(NOBODY,)))
    await run._idle(Idle())  # type: ignore[arg-type]
    assert next(looks, None) is None


class TestUnless:
    """A start that takes long ends with the first signal."""

    async def test_it_runs_to_its_end(self) -> None:
        assert await unless(asyncio.Event(), turns())

    async def test_it_is_cancelled_when_told_to_stop(self) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, stop.set)
        async with asyncio.timeout(PATIENCE_S):
            assert not await unless(stop, asyncio.Event().wait())

    async def test_what_it_raises_is_passed_on(self) -> None:
        async def fail() -> None:
            raise ValueError("x")

        with pytest.raises(ValueError, match="x"):
            await unless(asyncio.Event(), fail())

    async def test_a_cancellation_of_its_own_is_no_stop(self) -> None:
        async def fail() -> None:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await unless(asyncio.Event(), fail())


class Slow:
    """What takes for ever to open."""


@resource
async def slow() -> AsyncIterator[Slow]:
    try:
        STOPS[-1].set()
        await asyncio.Event().wait()
        yield Slow()
    finally:
        CLOSED.append("slow")


class Waits(Handler[Happened], channel="waits"):
    def __init__(self, slow: Slow) -> None: ...

    async def handle(self, event: Happened, ctx: Context) -> None: ...


CLOSED: list[str] = []
STOPS: list[asyncio.Event] = []


class TestSignalDuringStart:
    """A start that hangs on a resource ends with the first signal, and closes what it opened."""

    @pytest.fixture(autouse=True)
    def _stopped_when_it_opens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def stop_event(_: object = None) -> asyncio.Event:
            STOPS.append(asyncio.Event())
            return STOPS[-1]

        monkeypatch.setattr("nsqkit.worker.worker.stop_event", stop_event)
        monkeypatch.setattr("nsqkit.process.run.stop_event", stop_event)
        CLOSED.clear()

    def test_of_a_worker(self) -> None:
        worker = Worker([Waits], resources=[slow], settings=Settings(nsqd=(NOBODY,), admin_port=0))
        assert worker.run() == 0
        assert CLOSED == ["slow"]

    @pytest.mark.parametrize(("feeds", "code"), [((), 0), ((("t", Path(__file__)),), 1)])
    def test_of_a_run(self, feeds: tuple[tuple[str, Path], ...], code: int) -> None:
        run = Run(["unused"], Settings(nsqd=(NOBODY,), admin_port=0), feeds=feeds)
        assert asyncio.run(run._run(Loaded(LoadedModules((Waits.spec,), (slow,))))) == code
        assert CLOSED == ["slow"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_the_end_at_once_comes_also_where_nobody_can_be_told() -> None:
    program = "from nsqkit.cli.ending import end_at_once; import sys; sys.stdout.write('x'); end_at_once(3)"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=full, stderr=subprocess.DEVNULL, timeout=PATIENCE_S, check=False, env={},
        )  # fmt: skip
    assert done.returncode == 3
