"""Reload: a worker is replaced by one that loads, and by no other; nothing is lost on the way."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from nsqkit import FeedError, Settings, SettingsError
from nsqkit.ops.publish import publish_one
from nsqkit.process import reload as module
from nsqkit.process.child import Plan
from nsqkit.process.reload import Reload, watch
from tests.unit.reading import topics
from tests.waiting import PATIENCE_S, until

COMMAND = (sys.executable, "-m", "nsqkit", "reloaded")
HANGS = "import pathlib, threading; pathlib.Path('hangs').touch(); threading.Event().wait()"
HANDLERS = """
import asyncio, os, sys, time
from dataclasses import dataclass
from pathlib import Path
from nsqkit import Context, Handler, event

@event("reload.happened", version=1, topic="reloaded")
@dataclass
class Happened:
    n: int

class Work(Handler[Happened], channel="work"):
    async def handle(self, event: Happened, ctx: Context) -> None:
        ACTION
        with Path("seen").open("a") as file:
            file.write(f"VERSION:{event.n}\\n")
"""


class Stage:
    """A folder with one module of handlers, and a Reload that is told what changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.changes: asyncio.Queue[frozenset[Path]] = asyncio.Queue()
        self.stop = asyncio.Event()
        self.settings = Settings(admin_port=0, dev_tcp_port=0, dev_http_port=0, grace_s=0.0)
        self.reload: Reload | None = None
        self._running: asyncio.Task[int] | None = None

    def write(self, version: int, action: str = "pass", module: str = "") -> None:
        source = module or HANDLERS.replace("VERSION", str(version)).replace("ACTION", action)
        (self.folder / "team.py").write_text(source)
        self.changes.put_nowait(frozenset({self.folder / "team.py"}))

    def start(self, *feeds: tuple[str, Path]) -> None:
        self.changes = asyncio.Queue()  # what was written before is no change
        plan = Plan(("team",), self.settings)
        self.reload = Reload(plan, command=COMMAND, changes=self._changes(), dev=True, feeds=feeds)
        self._running = asyncio.create_task(self.reload._run())

    async def _changes(self) -> AsyncIterator[frozenset[Path]]:
        while True:
            yield await self.changes.get()

    async def publish(self, n: int) -> None:
        await asyncio.to_thread(publish_one, "reloaded", b'{"n": %d}' % n, self.running_on)

    @property
    def running_on(self) -> Settings:
        assert self.reload is not None
        return self.reload._plan.settings

    @property
    def seen(self) -> set[str]:
        path = self.folder / "seen"
        return set(path.read_text().split()) if path.exists() else set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something is so that only another process can tell."""
        assert self._running is not None
        running = self._running

        def is_so() -> object:
            is_running = not running.done()
            found = condition()
            assert found or is_running, "it has ended"
            return found

        await until(is_so)

    async def runs(self) -> None:
        """Wait until there is a worker."""
        await self.until(lambda: self.reload is not None and self.reload._worker)

    async def end(self) -> int:
        assert self._running is not None
        self.stop.set()
        async with asyncio.timeout(PATIENCE_S):
            return await self._running


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.chdir(tmp_path)
    made = Stage(tmp_path)
    monkeypatch.setattr(module, "stop_event", lambda _: made.stop)
    yield made
    if made._running is not None:
        with contextlib.suppress(Exception):
            await made.end()


class TestReplace:
    """A change of a file."""

    async def test_what_is_published_later_is_handled_by_the_new_code(self, stage: Stage) -> None:
        stage.write(1)
        stage.start()
        await stage.runs()
        await stage.publish(1)
        await stage.until(lambda: stage.seen == {"1:1"})
        stage.write(2)
        await stage.publish(2)
        await stage.publish(3)
        await stage.until(lambda: {each.partition(":")[2] for each in stage.seen} == {"1", "2", "3"})
        await stage.publish(4)
        await stage.until(lambda: {"1:4", "2:4"} & stage.seen)
        assert await stage.end() == 0

    async def test_what_the_old_worker_held_comes_to_the_new_one(self, stage: Stage) -> None:
        """The embedded broker is the parent's: it outlives every worker."""
        stage.write(1, "Path('held').touch(); await asyncio.Event().wait()")
        stage.start()
        await stage.runs()
        await stage.publish(1)
        await stage.until((stage.folder / "held").exists)
        stage.write(2)
        await stage.until(lambda: stage.seen == {"2:1"})
        assert await stage.end() == 0

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            pytest.param("class Broken(:", r"team.py:1: SyntaxError", id="no Python"),
            pytest.param("import no_such_thing", r"team.py:1: ModuleNotFoundError", id="a failing import"),
            pytest.param(HANDLERS.replace("channel", "chanel"), "did you mean 'channel'", id="a wrong class"),
        ],
    )
    async def test_code_that_does_not_load_leaves_the_old_worker_running_and_says_why(
        self,
        stage: Stage,
        capfd: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
        source: str,
        said: str,
    ) -> None:
        stage.write(1)
        stage.start()
        await stage.runs()
        stage.write(2, module=source)
        err = ""

        def is_told() -> bool:
            nonlocal err
            captured = capfd.readouterr()
            err += captured.err + captured.out
            return "reload_failed" in caplog.text

        await stage.until(is_told)
        assert said in err
        assert "the previous worker continues" in caplog.text
        await stage.publish(1)
        await stage.until(lambda: stage.seen == {"1:1"})
        assert await stage.end() == 0

    async def test_without_a_worker_before_it_waits_for_code_that_loads(self, stage: Stage) -> None:
        stage.write(1, module="class Broken(:")
        stage.start()
        await stage.until(lambda: stage.reload and stage.reload._code == 2)
        stage.write(2)
        await stage.runs()
        await stage.publish(1)
        await stage.until(lambda: stage.seen == {"2:1"})
        assert await stage.end() == 0

    async def test_ended_while_nothing_loads_it_is_2(self, stage: Stage) -> None:
        stage.write(1, module="class Broken(:")
        stage.start()
        await stage.until(lambda: stage.reload and stage.reload._code == 2)
        assert await stage.end() == 2

    async def test_an_import_that_never_ends_is_given_up_at_the_next_change(self, stage: Stage) -> None:
        stage.write(1, module=HANGS)
        stage.start()
        await stage.until((stage.folder / "hangs").exists)
        stage.write(2)
        await stage.runs()
        assert await stage.end() == 0

    async def test_ended_in_the_middle_of_an_import_it_ends_at_once(self, stage: Stage) -> None:
        stage.write(1, module=HANGS)
        stage.start()
        await stage.until((stage.folder / "hangs").exists)
        assert await stage.end() == 0

    async def test_a_worker_that_ends_by_itself_is_told_and_replaced_at_the_next_change(
        self, stage: Stage, caplog: pytest.LogCaptureFixture
    ) -> None:
        stage.write(1, "os._exit(3)")
        stage.start()
        await stage.runs()
        await stage.publish(1)
        await stage.until(lambda: stage.reload and stage.reload._code == 3)
        assert "worker_ended" in caplog.text
        stage.write(2)
        await stage.runs()
        assert await stage.end() == 0

    async def test_a_worker_that_was_killed_makes_it_1(self, stage: Stage) -> None:
        stage.write(1, "os.kill(os.getpid(), 9)")
        stage.start()
        await stage.runs()
        await stage.publish(1)
        await stage.until(lambda: stage.reload and stage.reload._code == -9)
        assert await stage.end() == 1


class TestFeeds:
    """Feeds are the parent's, too."""

    @pytest.fixture
    def feed(self, stage: Stage) -> Path:
        path = stage.folder / "feed.jsonl"
        path.write_text("".join(f'{{"n": {n}}}\n' for n in range(20)))
        return path

    @pytest.fixture
    def odd_feed(self, stage: Stage) -> Path:
        path = stage.folder / "odd.jsonl"
        path.write_text('"no object"\n{"n": 1}\n')
        return path

    async def test_they_are_published_once_however_often_the_worker_is_replaced(
        self, stage: Stage, feed: Path
    ) -> None:
        stage.write(1)
        stage.start(("reloaded", feed))
        await stage.until(lambda: stage.reload and stage.reload._is_fed)
        stage.write(2)
        await stage.until(lambda: len({each.partition(":")[2] for each in stage.seen}) == 20)
        await stage.publish(100)
        await stage.until(lambda: {"1:100", "2:100"} & stage.seen)
        (http,) = stage.running_on.nsqd_http
        assert (await topics(http))["reloaded"]["message_count"] == 21
        assert await stage.end() == 0

    async def test_ended_before_they_are_published_it_is_1(self, stage: Stage, feed: Path) -> None:
        """Whoever fed the file must know that it is not published as a whole."""
        stage.write(1, module=HANGS)
        stage.start(("reloaded", feed))
        await stage.until((stage.folder / "hangs").exists)
        assert await stage.end() == 1

    async def test_a_line_that_cannot_be_sent_makes_it_1(self, stage: Stage, odd_feed: Path) -> None:
        stage.write(1)
        stage.start(("reloaded", odd_feed))
        await stage.until(lambda: stage.seen == {"1:1"})
        assert await stage.end() == 1

    def test_one_that_cannot_be_read_is_told_before_anything_starts(self, tmp_path: Path) -> None:
        plan = Plan(("team",), Settings())
        reload = Reload(plan, command=(), changes=watch([tmp_path]), feeds=[("t", tmp_path / "missing")])
        with pytest.raises(FeedError, match="cannot be read"):
            reload.execute()


async def test_a_second_signal_ends_the_worker_at_once(stage: Stage) -> None:
    stage.settings = Settings(admin_port=0, dev_tcp_port=0, dev_http_port=0, grace_s=3600.0)
    stage.write(1, "Path('held').touch(); await asyncio.Event().wait()")
    stage.start()
    await stage.runs()
    await stage.publish(1)
    await stage.until((stage.folder / "held").exists)
    stage.stop.set()
    assert stage.reload is not None
    await stage.until(lambda: stage.reload and stage.reload._worker is None)
    stage.reload._hurry()
    assert await stage.end() in {0, 1}, "0 if it came before the first one"


class TestWatch:
    """Which changes count."""

    async def test_python_files_only_and_not_what_python_or_an_editor_writes_beside_them(
        self, tmp_path: Path
    ) -> None:
        for folder in ("inner", "__pycache__", ".venv"):
            (tmp_path / folder).mkdir()
        others = ("inner/notes.txt", "inner/team.py~", "inner/.team.py.swp", "__pycache__/x.py", ".venv/y.py")
        changes = watch([tmp_path])
        found = asyncio.ensure_future(anext(changes))
        async with asyncio.timeout(PATIENCE_S):
            while not found.done():  # it does not say when it has begun to look
                for name in (*others, "inner/team.py"):
                    (tmp_path / name).write_text("x = 1\n")
                await asyncio.wait({found}, timeout=0.1)
        assert await found == {tmp_path / "inner" / "team.py"}
        await changes.aclose()  # type: ignore[attr-defined]

    def test_without_watchfiles_one_line_names_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "watchfiles", None)
        with pytest.raises(SettingsError, match=r"--reload needs watchfiles.*nsqkit\[reload\]"):
            watch([Path()])
