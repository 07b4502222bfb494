"""Worker: the parts are wired so that it starts, is ready, drains, and gives back what it opened."""

import asyncio
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from nsqkit import (
    Context,
    Handler,
    HandlerError,
    Next,
    Outcome,
    ResourceError,
    RetryPolicy,
    Settings,
    SettingsError,
    Worker,
    event,
    resource,
)
from nsqkit.devbroker import DevBroker
from nsqkit.nsq import ConnectionOptions, NsqdPublisher
from nsqkit.nsq.keepers import Keepers
from nsqkit.telemetry import loop_watch
from nsqkit.worker import worker as module
from tests.unit.nsq.fake_nsqd import ID, FakeNsqd, Peer, message_frame
from tests.unit.reading import topics
from tests.waiting import PATIENCE_S, turns, until, until_blocking

NOBODY = "127.0.0.1:1"
STUCK = """
import asyncio, dataclasses, sys, threading
from nsqkit import Handler, Settings, Worker, event, program
from nsqkit.runtime import drain

@event("stuck.happened", version=1, topic="stuck")
@dataclasses.dataclass
class Happened:
    n: int = 0

class Stuck(Handler[Happened], channel="stuck"):
    def handle(self, event, ctx):
        print("stuck", flush=True)
        threading.Event().wait()

class Deaf(Handler[Happened], channel="stuck"):
    async def handle(self, event, ctx):
        print("stuck", flush=True)
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass

drain.CANCEL_S = program.END_S = 0.01
settings = Settings(nsqd=(sys.argv[1],), admin_port=0, grace_s=0.0)
code = Worker([globals()[sys.argv[2]]], settings=settings).run()
print("returned", code)
sys.exit(code)
"""
JOURNAL: list[str] = []


@event("worker.happened", version=1, topic="worked")
@dataclass
class Happened:
    n: int = 0


class Pool:
    pass


class Scarce:
    pass


@resource
async def pool() -> AsyncIterator[Pool]:
    JOURNAL.append("opened")
    yield Pool()
    JOURNAL.append("closed")


@resource
def scarce(pool: Pool) -> Iterator[Scarce]:
    yield exhausted()


def exhausted() -> Scarce:
    raise ConnectionRefusedError("no database")


class Work(Handler[Happened], channel="work"):
    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def handle(self, event: Happened, ctx: Context) -> None:
        JOURNAL.append(f"handled {event.n}")


class Hung(Handler[Happened], channel="hung"):
    inside, leave = threading.Event(), threading.Event()

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def handle(self, event: Happened, ctx: Context) -> None:
        self.inside.set()
        self.leave.wait(PATIENCE_S)


class Same(Handler[Happened], topic="worked", channel="work"):
    async def handle(self, event: Happened, ctx: Context) -> None:
        pass


class Unlucky(Handler[Happened], channel="unlucky"):
    def __init__(self, scarce: Scarce) -> None:
        pass

    async def handle(self, event: Happened, ctx: Context) -> None:
        pass


class Needy(Handler[Happened], channel="needy"):
    def __init__(self, missing: dict[str, int]) -> None:
        pass

    async def handle(self, event: Happened, ctx: Context) -> None:
        pass


@pytest.fixture(autouse=True)
def _journal() -> None:
    JOURNAL.clear()


def told(*nsqd: str, **options: Any) -> Settings:
    return Settings(**{"nsqd": nsqd, "admin_port": 0, "connect_timeout_s": 1.0, "grace_s": 5.0, **options})


async def publish(broker: DevBroker, *bodies: bytes, topic: str = "worked") -> None:
    publisher = NsqdPublisher(broker.tcp_address, ConnectionOptions())
    await publisher.publish_many(topic, bodies)
    await publisher.close()


class TestInsideAnotherProgram:
    """With ``async with`` it shares the event loop, and leaves nothing behind on it."""

    async def test_it_handles_until_the_block_ends(self, broker: DevBroker) -> None:
        before = asyncio.all_tasks()
        worker = Worker([Work], settings=told(broker.tcp_address))
        async with worker:
            await worker.wait_ready()
            await publish(broker, b'{"n": 1}')
            await until(lambda: "handled 1" in JOURNAL)
        assert JOURNAL == ["opened", "handled 1", "closed"]
        assert worker.problems() == ("draining",)
        await until(lambda: asyncio.all_tasks() == before)

    async def test_it_drains_though_the_block_raises(self, broker: DevBroker) -> None:
        with pytest.raises(KeyError, match="mine"):
            async with Worker([Work], settings=told(broker.tcp_address)):
                raise KeyError("mine")
        assert JOURNAL == ["opened", "closed"]

    async def test_it_runs_once(self) -> None:
        worker = Worker([Work], settings=told(lookupd=(NOBODY,)))
        async with worker:
            pass
        with pytest.raises(RuntimeError, match="a worker runs once; create another Worker"):
            await worker.start()

    def test_it_runs_on_an_event_loop_in_a_thread(self, threaded_broker: DevBroker) -> None:
        async def serve() -> None:
            async with Worker([Work], settings=told(threaded_broker.tcp_address)) as worker:
                await worker.wait_ready()
                await publish(threaded_broker, b'{"n": 1}')
                await until(lambda: "handled 1" in JOURNAL)

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        thread.join(PATIENCE_S)
        assert JOURNAL == ["opened", "handled 1", "closed"]

    async def test_run_within_an_event_loop_says_what_to_write(self) -> None:
        with pytest.raises(RuntimeError, match=r"an event loop is already running.* async with Worker\(…\)"):
            Worker([Work], settings=told(NOBODY)).run()

    def test_run_in_a_thread_says_what_to_write(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(Worker([Work], settings=told(NOBODY)).run)
        with pytest.raises(RuntimeError, match=r"only the main thread .* async with Worker\(…\)"):
            running.result()


class TestMaking:
    """What is refused before anything is opened."""

    def test_without_an_nsq_it_says_what_to_set(self) -> None:
        with pytest.raises(SettingsError, match=r"set nsqd \(host:4150\) or lookupd \(host:4161\)"):
            Worker([Work], settings=told())

    def test_two_handlers_of_one_channel_are_refused(self) -> None:
        with pytest.raises(HandlerError, match="Work and Same have the same topic 'worked'"):
            Worker([Work, Same], settings=told(NOBODY))

    def test_all_problems_are_told_at_once(self) -> None:
        with pytest.raises(HandlerError) as caught:
            Worker([Work, Same, Needy], settings=told(NOBODY))
        assert len(caught.value.problems) == 2

    def test_resources_are_those_of_the_handlers_modules(self) -> None:
        Worker([Work, Unlucky], settings=told(NOBODY))

    def test_unless_they_are_given(self) -> None:
        with pytest.raises(HandlerError, match="no single resource yields Pool"):
            Worker([Work], settings=told(NOBODY), resources=[])

    def test_a_token_for_the_admin_port_that_cannot_be_used_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="admin_token_file: /nowhere: No such file"):
            Worker([Work], settings=told(NOBODY, admin_port=1, admin_token_file="/nowhere"))
        Worker([Work], settings=told(NOBODY, admin_port=0, admin_token_file="/nowhere"))

    def test_the_settings_are_read_where_none_are_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NSQKIT_NSQD", "from.environment:4150")
        assert Worker([Work]).settings.nsqd == ("from.environment:4150",)


class TestRunning:
    """From start to stop, on an embedded broker."""

    async def test_resources_are_open_while_it_handles_and_closed_after_the_drain(
        self, broker: DevBroker
    ) -> None:
        worker = Worker([Work], settings=told(broker.tcp_address))
        await worker.start()
        async with asyncio.timeout(PATIENCE_S):
            await worker.wait_ready()
        await publish(broker, b'{"n": 1}', b'{"n": 2}')
        await until(lambda: len(JOURNAL) == 3)
        await worker.stop()
        assert JOURNAL == ["opened", "handled 1", "handled 2", "closed"]
        assert worker.left_behind == 0

    async def test_resources_of_a_handler_that_is_left_behind_stay_open(
        self, broker: DevBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("nsqkit.runtime.drain.CANCEL_S", 0.01)
        worker = Worker([Hung], settings=told(broker.tcp_address, grace_s=0.0))
        await worker.start()
        await publish(broker, b'{"n": 1}')
        try:
            await asyncio.to_thread(Hung.inside.wait, PATIENCE_S)
            await worker.stop()
            assert worker.left_behind == 1
            assert JOURNAL == ["opened"]
        finally:
            Hung.leave.set()

    async def test_middleware_stands_around_every_handler(self, broker: DevBroker) -> None:
        async def note(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            JOURNAL.append("around")
            return await call_next(event, ctx)

        worker = Worker([Work], settings=told(broker.tcp_address), middleware=[note])
        await worker.start()
        await publish(broker, b'{"n": 1}')
        await until(lambda: len(JOURNAL) == 3)
        await worker.stop()
        assert JOURNAL == ["opened", "around", "handled 1", "closed"]

    async def test_it_says_what_it_consumes(self, broker: DevBroker) -> None:
        worker = Worker([Work], settings=told(broker.tcp_address))
        assert not worker.subscribed
        await worker.start()
        assert worker.subscribed == (("worked", "work"), ("worked.work.retry", "work"))
        await worker.stop()

    async def test_once_subscribed_at_an_nsqd_the_channels_are_there(self, broker: DevBroker) -> None:
        worker = Worker([Work], settings=told(broker.tcp_address))
        await worker.start()
        async with asyncio.timeout(PATIENCE_S):
            await worker.wait_subscribed(broker.tcp_address)
        assert set(await topics(broker.http_address)) == {"worked", "worked.work.retry"}
        await worker.stop()

    async def test_what_it_holds_is_told(self) -> None:
        async with FakeNsqd() as nsqd:
            worker = Worker([Work], settings=told(nsqd.address))
            assert worker.held == 0
            await worker.start()
            assert worker.held == 0
            await worker.stop()

    async def test_a_message_larger_than_nsqd_takes_is_known_from_nsqd(self, broker: DevBroker) -> None:
        seen: list[int] = []

        async def note(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            with pytest.raises(Exception, match="nsqd takes 1048576"):
                ctx.publish(Happened("x" * 2_000_000), topic="large")  # type: ignore[arg-type]
            seen.append(event.n)
            return await call_next(event, ctx)

        settings = told(broker.tcp_address, nsqd_http=(broker.http_address,), max_msg_bytes=5_000_000)
        worker = Worker([Work], settings=settings, middleware=[note])
        await worker.start()
        await publish(broker, b'{"n": 1}')
        await until(lambda: "handled 1" in JOURNAL)
        await worker.stop()
        assert seen == [1]


class TestUnreachable:
    """An nsqd that is not there yet."""

    async def test_it_starts_says_so_and_stops(self) -> None:
        worker = Worker([Work], settings=told(NOBODY))
        assert worker.problems() == ("starting",)
        await worker.start()
        await until(lambda: "refused" in str(worker.problems()))
        assert all(problem.startswith("Work (worked/work): ") for problem in worker.problems())
        assert NOBODY in worker.problems()[0]
        assert worker.live()
        async with asyncio.timeout(PATIENCE_S):
            await worker.stop()
        assert JOURNAL == ["opened", "closed"]

    async def test_so_it_is_with_nsqlookupd(self) -> None:
        worker = Worker([Work], settings=told(lookupd=(NOBODY,)))
        await worker.start()
        await until(lambda: "refused" in str(worker.problems()))
        async with asyncio.timeout(PATIENCE_S):
            await worker.stop()


class TestFailedStart:
    """What was opened is closed again."""

    async def test_a_resource_that_cannot_be_opened_closes_the_others(self) -> None:
        worker = Worker([Work, Unlucky], settings=told(NOBODY))
        with pytest.raises(ResourceError, match="ConnectionRefusedError: no database"):
            await worker.start()
        assert JOURNAL == ["opened", "closed"]

    async def test_an_admin_port_in_use_is_named_and_closes_what_is_open(self) -> None:
        async with FakeNsqd() as other:
            worker = Worker([Work], settings=told(NOBODY, admin_port=other.port))
            with pytest.raises(SettingsError, match=f"{other.port}"):
                await worker.start()
        assert JOURNAL == ["opened", "closed"]


class TestQuarantine:
    """A delivery that may end the process runs alone in it, whichever handler it is for."""

    async def test_while_a_suspect_of_one_handler_runs_nothing_starts_in_another(self) -> None:
        inside, leave = asyncio.Event(), asyncio.Event()

        class Suspected(
            Handler[Happened], channel="stock", dead_letters=False, retry=RetryPolicy(max_attempts=1)
        ):
            async def handle(self, event: Happened, ctx: Context) -> None:
                inside.set()
                await leave.wait()

        class Beside(Handler[Happened], topic="beside", channel="stock", dead_letters=False):
            async def handle(self, event: Happened, ctx: Context) -> None:
                JOURNAL.append("beside")

        async with FakeNsqd() as nsqd:
            worker = Worker([Suspected, Beside], settings=told(nsqd.address, grace_s=0.1))
            await worker.start()
            peers = await nsqd.serve("worked", "beside")
            await heard(peers["beside"], b"RDY 1\n")
            peers["worked"].send(message_frame(ID, b"{}", attempts=2))
            async with asyncio.timeout(PATIENCE_S):
                await inside.wait()
            await heard(peers["beside"], b"RDY 0\n")
            peers["beside"].send(message_frame(ID, b"{}"))  # it was on its way
            await until(lambda: worker.held == 2)
            await turns()
            assert JOURNAL == []
            leave.set()
            await heard(peers["worked"], b"FIN %s\n" % ID)
            await heard(peers["beside"], b"FIN %s\n" % ID)
            assert JOURNAL == ["beside"]
            for peer in peers.values():
                peer.writer.close()
            await worker.stop()


async def heard(peer: Peer, command: bytes) -> None:
    """Return when nsqd is told this, whatever it is told before."""
    while await peer.command() != command:
        pass


class TestAdmin:
    """Metrics and health are those of the worker."""

    async def asked(self, port: int, path: str) -> tuple[int, str]:
        def get() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(get)

    async def test_ready_follows_the_subscriptions(self, broker: DevBroker) -> None:
        async with FakeNsqd() as other:
            free = other.port
        worker = Worker([Work], settings=told(broker.tcp_address, admin_port=free))
        await worker.start()
        async with asyncio.timeout(PATIENCE_S):
            await worker.wait_ready()
        assert await self.asked(free, "/readyz") == (200, "ready\n")
        assert (await self.asked(free, "/healthz"))[0] == 200
        _, metrics = await self.asked(free, "/metrics")
        labels = 'topic="worked",channel="work",handler="Work"'
        assert f"nsqkit_max_in_flight{{{labels}}} 100\n" in metrics
        subscribed = f'{labels},nsqd="{broker.tcp_address}",state="subscribed"'
        assert f"nsqkit_connection_state{{{subscribed}}} 1\n" in metrics
        await broker.stop()
        await until(lambda: bool(worker.problems()))
        status, problems = await self.asked(free, "/readyz")
        assert status == 503
        assert problems.startswith("Work (worked/work): nsqd")
        await worker.stop()

    async def test_while_it_drains_it_is_live_and_not_ready(self, broker: DevBroker) -> None:
        leave = asyncio.Event()

        async def hold(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            await leave.wait()
            return await call_next(event, ctx)

        async with FakeNsqd() as other:
            free = other.port
        settings = told(broker.tcp_address, admin_port=free, grace_s=PATIENCE_S)
        worker = Worker([Work], settings=settings, middleware=[hold])
        await worker.start()
        await publish(broker, b'{"n": 1}')
        await until(lambda: worker.held)
        stopping = asyncio.create_task(worker.stop())
        await turns()
        assert await self.asked(free, "/readyz") == (503, "draining\n")
        assert await self.asked(free, "/healthz") == (200, "ok\n")
        leave.set()
        await stopping
        assert JOURNAL == ["opened", "handled 1", "closed"]

    async def test_the_token_of_the_settings_is_required_for_all_but_health(self, broker: DevBroker) -> None:
        async with FakeNsqd() as other:
            free = other.port
        worker = Worker([Work], settings=told(broker.tcp_address, admin_port=free, admin_token="s3cret"))
        await worker.start()
        pages = ("/healthz", "/metrics", "/handlers")
        assert [(await self.asked(free, page))[0] for page in pages] == [200, 401, 401]
        await worker.stop()

    async def test_a_background_task_that_died_makes_it_unhealthy_until_a_restart(
        self, broker: DevBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def keep(*_: Any) -> None:
            raise LookupError("a defect")

        monkeypatch.setattr(Keepers, "_keep", keep)
        async with FakeNsqd() as other:
            free = other.port
        worker = Worker([Work], settings=told(broker.tcp_address, admin_port=free))
        assert worker.live()
        with structlog.testing.capture_logs() as log:
            await worker.start()
            await until(lambda: not worker.live())
        status, text = await self.asked(free, "/healthz")
        assert status == 503
        name = f"connection to {broker.tcp_address} for worked/work"
        assert f"background task '{name}' has died: LookupError: a defect" in text.splitlines()
        assert name in {line["task"] for line in log if line["event"] == "background_task_died"}
        died = worker.metrics.registry.get_sample_value("nsqkit_background_tasks_died")
        assert died == text.count("has died")
        await worker.stop()


class TestLoopWatch:
    """A handler that blocks the event loop."""

    async def test_a_block_is_counted_while_it_lasts(
        self, broker: DevBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop_watch, "_BEAT_S", 0.02)
        monkeypatch.setattr(loop_watch, "_LATE_S", 0.06)
        worker: Worker

        async def block(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            blocks = partial(worker.metrics.registry.get_sample_value, "nsqkit_event_loop_blocks_total")
            until_blocking(blocks, lambda count: (count or 0.0) > before)
            return await call_next(event, ctx)

        worker = Worker([Work], settings=told(broker.tcp_address), middleware=[block])
        await worker.start()
        async with asyncio.timeout(PATIENCE_S):
            await worker.wait_ready()
        before = worker.metrics.registry.get_sample_value("nsqkit_event_loop_blocks_total") or 0.0
        await publish(broker, b'{"n": 1}')
        await until(lambda: "handled 1" in JOURNAL)
        await worker.stop()


class TestStopping:
    """The line that says what happens next, where it has to wait."""

    async def stopping(self, worker: Worker, **options: bool) -> MutableMapping[str, Any]:
        with structlog.testing.capture_logs() as log:
            await worker.stop(**options)
        (line,) = [line for line in log if line["event"] == "worker_stopping"]
        return line

    async def test_without_a_message_in_flight_there_is_nothing_to_wait_for(self) -> None:
        worker = Worker([Work], settings=told(NOBODY))
        await worker.start()
        line = await self.stopping(worker, signalled=True)
        assert (line["held"], "hint" in line) == (0, False)

    @pytest.mark.parametrize("signalled", [True, False])
    async def test_with_one_it_says_how_long_it_waits_and_what_a_second_signal_does(
        self, broker: DevBroker, *, signalled: bool
    ) -> None:
        leave = asyncio.Event()

        async def hold(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            await leave.wait()
            return await call_next(event, ctx)

        worker = Worker([Work], settings=told(broker.tcp_address), middleware=[hold])
        await worker.start()
        await publish(broker, b'{"n": 1}')
        await until(lambda: worker.held)
        stopping = asyncio.create_task(self.stopping(worker, signalled=signalled))
        await turns()
        leave.set()
        line = await stopping
        assert (line["held"], line["grace_s"]) == (1, 5.0)
        assert line["hint"].startswith("running handlers have 5 s to finish")
        assert ("second signal" in line["hint"]) is signalled

    async def test_its_event_loop_is_watched_from_start_to_stop(self) -> None:
        worker = Worker([Work], settings=told(NOBODY))
        await worker.start()
        assert "nsqkit-loop-watch" in {each.name for each in threading.enumerate()}
        await worker.stop()
        await until(lambda: "nsqkit-loop-watch" not in {each.name for each in threading.enumerate()})


class TestRun:
    """For programs: it blocks until a signal."""

    @pytest.fixture
    def stopped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be told to stop once started, and leave the process's logging alone."""
        stops: list[asyncio.Event] = []
        start = Worker.start

        def stop_event() -> asyncio.Event:
            stops.append(asyncio.Event())
            return stops[-1]

        async def started(worker: Worker) -> None:
            await start(worker)
            stops[-1].set()

        monkeypatch.setattr(module, "stop_event", stop_event)
        monkeypatch.setattr(Worker, "start", started)

    @pytest.mark.usefixtures("stopped")
    def test_a_clean_end_is_0(self, threaded_broker: DevBroker) -> None:
        assert Worker([Work], settings=told(threaded_broker.tcp_address)).run() == 0
        assert JOURNAL == ["opened", "closed"]

    @pytest.mark.usefixtures("stopped")
    def test_a_thread_that_still_runs_makes_it_1(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def drain(*_: Any, **__: Any) -> int:
            return 1

        monkeypatch.setattr(module, "drain", drain)
        worker = Worker([Same], settings=told(lookupd=(NOBODY,)))
        assert worker.run() == 1
        assert worker.left_behind == 1

    @pytest.mark.parametrize(
        "handler",
        [
            pytest.param("Stuck", id="in a thread: it is a daemon, so the interpreter does not wait for it"),
            pytest.param("Deaf", id="in a task that ignores its cancellation"),
        ],
    )
    def test_a_program_ends_by_its_exit_code_though_a_handler_is_stuck(
        self, threaded_broker: DevBroker, tmp_path: Path, handler: str
    ) -> None:
        (tmp_path / "stuck.py").write_text(STUCK)
        with subprocess.Popen(
            [sys.executable, "stuck.py", threaded_broker.tcp_address, handler],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as program:
            asyncio.run(publish(threaded_broker, b'{"n": 1}', topic="stuck"))
            assert program.stdout is not None
            assert program.stdout.readline() == "stuck\n", program.communicate()[1]
            program.send_signal(signal.SIGTERM)
            said, log = program.communicate(timeout=PATIENCE_S)
        assert said.splitlines()[-1] == "returned 1"
        assert program.returncode == 1
        assert ("task Deaf.handle" in log) is (handler == "Deaf")
