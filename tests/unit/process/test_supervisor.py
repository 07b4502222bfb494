"""Supervisor: several child workers are one service; nothing is lost when one ends or is replaced."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from tornado.httpclient import AsyncHTTPClient

from nsqkit import FeedError, Settings, SettingsError
from nsqkit.ops.publish import publish_one
from nsqkit.policy.retry import Exponential
from nsqkit.process import replacement, slot
from nsqkit.process import supervisor as module
from nsqkit.process.child import Plan
from nsqkit.process.supervisor import Supervisor
from nsqkit.telemetry.metrics import HandlerSummary
from tests.ports import free_port
from tests.unit.reading import topics
from tests.waiting import PATIENCE_S, until

COMMAND = (sys.executable, "-m", "nsqkit", "child")
HANGS = "import pathlib, threading; pathlib.Path('hangs').touch(); threading.Event().wait()"
HANDLERS = """
import asyncio, os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from nsqkit import Context, Handler, event, resource

@event("supervised.happened", version=1, topic="supervised")
@dataclass
class Happened:
    n: int

class Database: ...

@resource
async def database() -> AsyncIterator[Database]:
    OPENING
    yield Database()

class Work(Handler[Happened], channel="work", max_in_flight=LIMIT):
    def __init__(self, database: Database) -> None: ...
    async def handle(self, event: Happened, ctx: Context) -> None:
        ACTION
        with Path("seen").open("a") as file:
            file.write(f"VERSION:{os.getpid()}:{event.n}\\n")
"""
HOLD = "Path('held').touch(); await asyncio.Event().wait()"
DIE_ONCE = "ctx.attempts == 1 and event.n == 7 and os.kill(os.getpid(), 9)"


class Stage:
    """A folder with one module of handlers, and a supervisor of two workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stop = asyncio.Event()
        self.options: dict[str, Any] = {"admin_port": 0, "grace_s": 0.0, "msg_timeout_s": 1.0}
        self.supervisor: Supervisor | None = None
        self.on_signal: Callable[[], object] = lambda: None
        self.running: asyncio.Task[int] | None = None
        self.log: list[Any] = []

    def write(
        self,
        version: int = 1,
        action: str = "pass",
        opening: str = "pass",
        module: str = "",
        limit: int = 5,
    ) -> None:
        source = HANDLERS.replace("VERSION", str(version)).replace("ACTION", action)
        source = source.replace("LIMIT", str(limit))
        (self.folder / "team.py").write_text(module or source.replace("OPENING", opening))

    def feed(self, count: int) -> tuple[str, Path]:
        path = self.folder / "feed.jsonl"
        path.write_text("".join(f'{{"n": {n}}}\n' for n in range(count)))
        return "supervised", path

    def start(self, count: int = 2, **given: Any) -> None:
        settings = Settings(dev_tcp_port=0, dev_http_port=0, **self.options)
        self.supervisor = Supervisor(
            Plan(("team",), settings), count, **{"command": COMMAND, "dev": True, **given}
        )
        self.running = asyncio.create_task(self.supervisor._run(lambda: None))

    @property
    def slots(self) -> list[slot.Slot]:
        assert self.supervisor is not None
        return self.supervisor._slots

    @property
    def pids(self) -> set[int]:
        return {each.child.pid for each in self.slots if each.child is not None}

    @property
    def seen(self) -> list[tuple[str, str, int]]:
        """Version, process and number of each message that was handled."""
        path = self.folder / "seen"
        lines = path.read_text().split() if path.exists() else []
        parts = (line.split(":") for line in lines)
        return [(version, pid, int(number)) for version, pid, number in parts]

    @property
    def numbers(self) -> set[int]:
        return {number for _, _, number in self.seen}

    @property
    def row(self) -> HandlerSummary:
        """The one row of the one table."""
        assert self.supervisor is not None
        (row,) = self.supervisor.summary()
        return row

    def events(self, name: str) -> list[Any]:
        return [line for line in self.log if line["event"] == name]

    async def publish(self, n: int) -> None:
        assert self.supervisor is not None
        settings = self.supervisor._plan.settings
        await asyncio.to_thread(publish_one, "supervised", b'{"n": %d}' % n, settings)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something is so while the supervisor runs."""
        assert self.running is not None
        running = self.running

        def is_so() -> object:
            is_running = not running.done()
            found = condition()
            assert found or is_running, "it has ended"
            return found

        await until(is_so)

    async def runs(self, count: int = 2) -> None:
        await self.until(lambda: len(self.pids) == count)

    async def code(self) -> int:
        assert self.running is not None
        async with asyncio.timeout(PATIENCE_S):
            return await self.running

    async def end(self) -> int:
        self.stop.set()
        return await self.code()


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(slot, "RESTARTS", Exponential(base_s=0.01, max_s=0.01))
    made = Stage(tmp_path)

    def stop_event(on_signal: Callable[[], object]) -> asyncio.Event:
        made.on_signal = on_signal
        return made.stop

    monkeypatch.setattr(module, "stop_event", stop_event)
    with structlog.testing.capture_logs() as made.log:
        yield made
        if made.running is not None:
            made.stop.set()
            await asyncio.wait({made.running})


class TestRun:
    """The work, from the start to the end."""

    async def test_until_idle_every_message_is_handled_though_a_worker_is_killed_meanwhile(
        self, stage: Stage
    ) -> None:
        stage.write(action=DIE_ONCE, limit=1)  # so the killed worker has one message
        stage.start(feeds=[stage.feed(50)], exit_when_idle=True)
        assert await stage.code() == 0
        assert stage.numbers == set(range(50))
        assert len(stage.seen) == stage.row.success == 50, "no count is lost with the process"
        assert stage.row.received == 51
        assert len({pid for _, pid, _ in stage.seen}) >= 2
        (line,) = stage.events("worker_ended")
        assert "SIGKILL" in line["reason"]

    async def test_the_parent_imports_no_handler_module(self, stage: Stage) -> None:
        stage.write()
        stage.start(exit_when_idle=True)
        assert await stage.code() == 0
        assert "team" not in sys.modules

    async def test_a_feed_with_a_refused_line_is_1(self, stage: Stage) -> None:
        stage.write()
        topic, path = stage.feed(1)
        path.write_text('"no object"\n{"n": 1}\n')
        stage.start(feeds=[(topic, path)], exit_when_idle=True)
        assert await stage.code() == 1
        assert stage.numbers == {1}

    async def test_a_feed_may_be_repeated_until_the_end(self, stage: Stage) -> None:
        stage.write()
        stage.options["feed_rate"] = 100.0
        stage.start(1, feeds=[stage.feed(1)])
        await stage.until(lambda: len(stage.seen) > 2)
        assert await stage.end() == 0

    async def test_a_feed_that_is_cut_short_is_1(self, stage: Stage) -> None:
        stage.write(module=HANGS)
        stage.start(feeds=[stage.feed(1)])
        await stage.until((stage.folder / "hangs").exists)
        assert await stage.end() == 1

    def test_a_feed_that_cannot_be_read_is_told_before_a_worker_starts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = Plan(("team",), Settings())
        with pytest.raises(FeedError, match="cannot be read"):
            Supervisor(plan, 2, command=(), feeds=[("t", tmp_path / "missing")]).execute()

    def test_execute_returns_the_code(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        plan = Plan(("no_such_module",), Settings(admin_port=0, nsqd=("127.0.0.1:1",)))
        with structlog.testing.capture_logs():
            assert Supervisor(plan, 1, command=COMMAND).execute() == 2

    async def test_a_taken_admin_port_is_told_and_no_worker_is_left(self, stage: Stage) -> None:
        stage.write()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            stage.options["admin_port"] = taken.getsockname()[1]
            stage.start()
            with pytest.raises(SettingsError, match="in use"):
                await stage.code()


class TestDeploy:
    """Code that does not work ends everything at the start, and changes nothing later."""

    @pytest.mark.parametrize(
        ("written", "code"),
        [
            pytest.param({"module": "import no_such_thing"}, 2, id="it does not load"),
            pytest.param({"opening": "raise ConnectionError"}, 1, id="a resource does not open"),
            pytest.param({"opening": "os.kill(os.getpid(), 9)"}, 137, id="it is killed, as for memory"),
            pytest.param({"opening": "os._exit(0)"}, 1, id="it exits with 0"),
        ],
    )
    async def test_a_worker_that_is_never_ready_ends_all(
        self, stage: Stage, written: dict[str, Any], code: int
    ) -> None:
        stage.write(**written)
        stage.start()
        assert await stage.code() == code
        assert len(stage.events("worker_failed")) == 1

    async def test_all_workers_are_replaced_and_nothing_is_lost(self, stage: Stage) -> None:
        stage.write(1)
        stage.start()
        await stage.runs()
        before = stage.pids
        stage.write(2)
        assert stage.supervisor is not None
        stage.supervisor._replacement.request()
        sent = 0
        while not stage.events("workers_replaced"):
            await stage.publish(sent)
            sent += 1
        await stage.publish(sent)
        await stage.until(lambda: stage.numbers == set(range(sent + 1)))
        assert len(stage.seen) == sent + 1, "each is handled once"
        assert stage.seen[-1][0] == "2"
        assert not before & stage.pids
        settings = stage.supervisor._plan.settings
        work = (await topics(settings.nsqd_http[0]))["supervised"]["channels"][0]
        assert (work["message_count"], work["timeout_count"]) == (sent + 1, 0)
        assert await stage.end() == 0
        assert (stage.row.success, stage.row.requeued) == (sent + 1, work["requeue_count"])

    async def test_broken_code_leaves_the_earlier_workers(self, stage: Stage) -> None:
        stage.write(1)
        stage.start()
        await stage.runs()
        before = stage.pids
        stage.write(2, module="class Broken(:")
        assert stage.supervisor is not None
        stage.supervisor._replacement.request()
        await stage.until(lambda: stage.events("replacement_failed"))
        assert stage.pids == before
        await stage.publish(1)
        await stage.until(lambda: stage.numbers == {1})
        assert await stage.end() == 0

    async def test_too_much_memory_replaces_a_worker(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replacement, "MEMORY_LOOK_S", 0.05)
        stage.write(action="kept = globals().setdefault('kept', bytearray(b'x' * 200_000_000))")
        stage.options["max_worker_memory_mb"] = 200
        stage.start(1)
        await stage.runs(1)
        before = stage.pids
        await stage.publish(1)
        await stage.until(lambda: stage.pids and not stage.pids & before)
        assert stage.events("worker_memory_high")
        assert await stage.end() == 0


class TestEnd:
    """Signals."""

    async def test_one_in_the_middle_of_a_replacement_ends_old_and_new(self, stage: Stage) -> None:
        stage.write(1)
        stage.start()
        await stage.runs()
        stage.write(2, module=HANGS)
        assert stage.supervisor is not None
        stage.supervisor._replacement.request()
        await stage.until((stage.folder / "hangs").exists)
        assert await stage.end() == 0

    async def test_the_second_one_kills_all_workers_at_once(self, stage: Stage) -> None:
        stage.options["grace_s"] = 3600.0
        stage.write(action=HOLD)
        stage.start()
        await stage.runs()
        pids = stage.pids
        await stage.publish(1)
        await stage.until((stage.folder / "held").exists)
        stage.stop.set()
        await stage.until(lambda: not stage.pids)
        stage.on_signal()
        assert await stage.code() == 137
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    async def test_a_worker_that_is_killed_while_it_drains_is_137(self, stage: Stage) -> None:
        stage.options["grace_s"] = 3600.0
        stage.write(action=HOLD)
        stage.start(1)
        await stage.runs(1)
        (pid,) = stage.pids
        await stage.publish(1)
        await stage.until((stage.folder / "held").exists)
        stage.stop.set()
        await stage.until(lambda: not stage.pids)
        os.kill(pid, 9)
        assert await stage.code() == 137


class TestAdmin:
    """One port speaks for all."""

    async def ask(self, stage: Stage, path: str, method: str = "GET") -> tuple[int, str]:
        client = AsyncHTTPClient(force_instance=True)
        try:
            url = f"http://127.0.0.1:{stage.options['admin_port']}{path}"
            answer = await client.fetch(url, method=method, raise_error=False, allow_nonstandard_methods=True)
            return answer.code, answer.body.decode()
        finally:
            client.close()

    @pytest.fixture
    async def port(self, stage: Stage) -> int:
        stage.options["admin_port"] = port = free_port()
        return port

    @pytest.mark.usefixtures("port")
    async def test_health_handlers_and_pause_are_of_all_workers(self, stage: Stage) -> None:
        stage.write(action="event.n == 9 and os._exit(3)")
        stage.start()
        await stage.until(lambda: stage.events("workers_ready"))
        assert await self.ask(stage, "/healthz") == (200, "ok\n")
        assert await self.ask(stage, "/readyz") == (200, "ready\n")
        _, shown = await self.ask(stage, "/metrics")
        assert '\nnsqkit_max_in_flight{topic="supervised",channel="work",handler="Work"} 10\n' in shown
        code, shown = await self.ask(stage, "/handlers/Work/pause", "POST")
        states = json.loads(shown)["handlers"]
        assert (code, [(each["worker"], each["state"]) for each in states]) == (
            200,
            [(1, "paused"), (2, "paused")],
        )
        assert (await self.ask(stage, "/handlers/Unknown/pause", "POST"))[0] == 404
        before = stage.pids
        os.kill(min(before), 9)
        await stage.until(lambda: len(stage.pids) == 2 and stage.pids != before)
        _, shown = await self.ask(stage, "/handlers")
        assert [each["state"] for each in json.loads(shown)["handlers"]] == ["paused", "paused"]
        assert await stage.end() == 0

    @pytest.mark.usefixtures("port")
    async def test_a_blocked_worker_is_named(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        stage.write(action="import signal; Path('held').touch(); signal.sigwait([signal.SIGUSR1])")
        stage.start(1)
        await stage.until(lambda: stage.events("workers_ready"))
        (pid,) = stage.pids
        await stage.publish(1)
        await stage.until((stage.folder / "held").exists)
        monkeypatch.setattr("nsqkit.process.requests.ANSWER_S", 0.05)
        assert await self.ask(stage, "/healthz") == (503, "worker 1: does not answer\n")
        assert await self.ask(stage, "/readyz") == (503, "worker 1: does not answer\n")
        os.kill(pid, 9)
        assert await stage.end() in {0, 137}, "137 if it ended before the parent saw it"
