"""Run: from a module's name to an exit code, on an embedded broker, with feeds and an end."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nsqkit import FeedError, LoadError, Settings, SettingsError
from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.store import Store
from nsqkit.devbroker import DevBroker
from nsqkit.process import run as module
from nsqkit.process.run import Run
from nsqkit.telemetry.metrics import HandlerSummary
from tests.unit.reading import topics_of

NOBODY = "127.0.0.1:1"
HANDLERS = """
from dataclasses import dataclass
from nsqkit import Context, DeadLetter, Exponential, Handler, RetryPolicy, event

QUICK = RetryPolicy(max_attempts=3, backoff=Exponential(base_s=0.01, max_s=0.01))

@event("run.happened", version=1, topic="ran")
@dataclass
class Happened:
    n: int

class Work(Handler[Happened], channel="work", retry=QUICK):
    async def handle(self, event: Happened, ctx: Context) -> None:
        if event.n % 3 == 0 and ctx.attempts == 1:
            raise ConnectionError

class Bury(Handler[Happened], channel="bury"):
    async def handle(self, event: Happened, ctx: Context) -> DeadLetter:
        return DeadLetter("bad")
"""


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep dead letters out of the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "run_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "run_handlers"
    sys.modules.pop("run_handlers", None)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, list[object]], Path]:
    def write(name: str, lines: list[object]) -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return path

    return write


Write = Callable[[str, list[object]], Path]


def told(**options: Any) -> Settings:
    return Settings(
        **{"admin_port": 0, "dev_tcp_port": 0, "dev_http_port": 0, "connect_timeout_s": 1.0, **options}
    )


def rows(run: Run) -> dict[str, HandlerSummary]:
    return {row.handler: row for row in run.summary()}


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Event]:
    """The events that a signal would set."""
    found: list[asyncio.Event] = []

    def stop_event(_: object) -> asyncio.Event:
        found.append(asyncio.Event())
        return found[-1]

    monkeypatch.setattr(module, "stop_event", stop_event)
    return found


class TestDev:
    """On the embedded broker, until nothing is left to do."""

    def test_every_line_is_handled_by_every_handler_and_the_run_ends_clean(
        self, handlers: str, write: Write
    ) -> None:
        path = write("feed.jsonl", [{"n": n} for n in range(30)])
        run = Run([handlers], told(), dev=True, feeds=[("ran", path)], exit_when_idle=True)
        assert run.execute() == 0
        work, bury = rows(run)["Work"], rows(run)["Bury"]
        assert (work.received, work.success, work.requeued, work.dead_lettered) == (40, 30, 10, 0)
        assert (bury.received, bury.success, bury.requeued, bury.dead_lettered) == (30, 0, 0, 30)
        assert work.requeue_rate_ratio == 0.25
        assert run.left_behind == 0

    def test_what_is_dead_is_in_the_store_at_the_end(self, handlers: str, write: Write) -> None:
        path = write("feed.jsonl", [{"n": n} for n in range(30)])
        settings = told()
        assert Run([handlers], settings, dev=True, feeds=[("ran", path)], exit_when_idle=True).execute() == 0
        with Store(Path(settings.dead_store)) as store:
            assert store.count(Filters()) == 30
            assert {each.letter.handler for each in store.find(Filters())} == {"Bury"}

    def test_a_store_that_cannot_be_made_is_no_failure_of_the_run(self, handlers: str, write: Write) -> None:
        path = write("feed.jsonl", [{"n": 1}])
        settings = told(dead_store="no/such/folder/dead.sqlite")
        run = Run([handlers], settings, dev=True, feeds=[("ran", path)], exit_when_idle=True)
        assert run.execute() == 0
        assert rows(run)["Bury"].dead_lettered == 1

    def test_several_feeds_are_published_one_after_the_other(self, handlers: str, write: Write) -> None:
        feeds = [("ran", write(f"{name}.jsonl", [{"n": 1}])) for name in ("a", "b")]
        run = Run([f"{handlers}:Work"], told(), dev=True, feeds=feeds, exit_when_idle=True)
        assert run.execute() == 0
        assert rows(run)["Work"].success == 2

    def test_without_a_feed_an_idle_broker_ends_it_at_once(self, handlers: str) -> None:
        assert Run([handlers], told(), dev=True, exit_when_idle=True).execute() == 0

    def test_a_line_that_cannot_be_sent_makes_it_1_and_the_rest_is_handled(
        self, handlers: str, write: Write
    ) -> None:
        path = write("feed.jsonl", [{"n": 1}, "no object", {"n": 2}])
        run = Run([handlers], told(), dev=True, feeds=[("ran", path)], exit_when_idle=True)
        assert run.execute() == 1
        assert rows(run)["Work"].success == 2

    def test_the_broker_is_used_whatever_nsqd_the_settings_name(self, handlers: str, write: Write) -> None:
        path = write("feed.jsonl", [{"n": 1}])
        settings = told(nsqd=(NOBODY,), lookupd=(NOBODY,), nsqd_http=(NOBODY,), tls=True)
        run = Run([handlers], settings, dev=True, feeds=[("ran", path)], exit_when_idle=True)
        assert run.execute() == 0
        assert rows(run)["Work"].success == 1
        assert run.settings.source_of("nsqd") == "--dev"
        assert run.settings.lookupd == ()
        assert not run.settings.tls

    def test_a_port_in_use_is_told_with_what_to_change(
        self, handlers: str, threaded_broker: DevBroker
    ) -> None:
        port = int(threaded_broker.tcp_address.rpartition(":")[2])
        with pytest.raises(SettingsError, match=f"(?s){port}.*in use"):
            Run([handlers], told(dev_tcp_port=port), dev=True).execute()


class TestNsqd:
    """On an nsqd that is there already."""

    def settings(self, broker: DevBroker, **options: Any) -> Settings:
        return told(nsqd=(broker.tcp_address,), nsqd_http=(broker.http_address,), **options)

    def test_channels_are_made_before_the_feed_and_what_is_fed_is_handled(
        self, handlers: str, write: Write, threaded_broker: DevBroker
    ) -> None:
        path = write("feed.jsonl", [{"n": n} for n in range(30)])
        run = Run([handlers], self.settings(threaded_broker), feeds=[("ran", path)], exit_when_idle=True)
        assert run.execute() == 0
        channels = topics_of(threaded_broker.http_address)["ran"]["channels"]
        counts = {
            each["channel_name"]: (each["message_count"], each["depth"], each["requeue_count"])
            for each in channels
        }
        assert counts == {"work": (30, 0, 10), "bury": (30, 0, 0)}

    def test_an_http_address_that_does_not_answer_is_named_with_its_flag(
        self, handlers: str, threaded_broker: DevBroker
    ) -> None:
        settings = told(nsqd=(threaded_broker.tcp_address,), nsqd_http=(NOBODY,))
        with pytest.raises(SettingsError, match="--nsqd-http"):
            Run([handlers], settings, exit_when_idle=True).execute()

    def test_work_of_others_on_the_same_nsqd_is_not_waited_for(
        self, handlers: str, write: Write, threaded_broker: DevBroker
    ) -> None:
        other = write("other.jsonl", [{"n": 1}])
        run = Run([handlers], self.settings(threaded_broker), feeds=[("others", other)], exit_when_idle=True)
        assert run.execute() == 0
        assert topics_of(threaded_broker.http_address)["others"]["depth"] == 1


class TestSignal:
    """A signal ends it, wherever it is."""

    def stop_when(self, signalled: list[asyncio.Event], monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        """Set the stop event when the run reaches a step."""
        real = getattr(Run, step)

        async def reached(self: Run, *args: Any) -> Any:
            signalled[0].set()
            return await real(self, *args)

        monkeypatch.setattr(Run, step, reached)

    def test_after_the_feed_it_drains_and_is_0(
        self, handlers: str, write: Write, signalled: list[asyncio.Event], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write("feed.jsonl", [{"n": 1}])
        run = Run([handlers], told(), dev=True, feeds=[("ran", path)], exit_when_idle=True)
        self.stop_when(signalled, monkeypatch, "_idle")
        assert run.execute() == 0

    def test_while_a_feed_is_repeated_it_is_0(
        self, handlers: str, write: Write, signalled: list[asyncio.Event], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It was published as a whole before."""

        async def repeat_feeds(feeds: Any, settings: Settings) -> None:
            signalled[0].set()
            await asyncio.Event().wait()

        monkeypatch.setattr("nsqkit.process.run.repeat_feeds", repeat_feeds)
        path = write("feed.jsonl", [{"n": 1}])
        assert Run([handlers], told(feed_rate=5.0), dev=True, feeds=[("ran", path)]).execute() == 0

    def test_in_the_middle_of_a_feed_it_is_1(
        self, handlers: str, write: Write, signalled: list[asyncio.Event], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever fed the file must know that it is not published as a whole."""
        path = write("feed.jsonl", [{"n": 1}])
        run = Run([handlers], told(), dev=True, feeds=[("ran", path)])
        self.stop_when(signalled, monkeypatch, "_feed_address")
        assert run.execute() == 1

    def test_while_no_nsqd_can_be_reached_it_ends_as_well(
        self, handlers: str, signalled: list[asyncio.Event], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = Run([handlers], told(nsqd=(NOBODY,)))
        self.stop_when(signalled, monkeypatch, "_work")
        assert run.execute() == 0

    def test_a_message_left_behind_is_1(
        self, handlers: str, signalled: list[asyncio.Event], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def drain(*_: Any, **__: Any) -> int:
            return 2

        monkeypatch.setattr("nsqkit.worker.worker.drain", drain)
        run = Run([handlers], told(nsqd=(NOBODY,)))
        self.stop_when(signalled, monkeypatch, "_work")
        assert run.execute() == 1
        assert run.left_behind == 2


class TestRefused:
    """What is wrong is told before anything is started."""

    def test_a_module_that_cannot_be_loaded(self) -> None:
        with pytest.raises(LoadError, match="no_such_module"):
            Run(["no_such_module"], told(), dev=True).execute()

    def test_a_feed_that_cannot_be_read(self, handlers: str, tmp_path: Path) -> None:
        with pytest.raises(FeedError, match="cannot be read"):
            Run([handlers], told(), dev=True, feeds=[("ran", tmp_path / "missing")]).execute()

    def test_no_nsq_at_all(self, handlers: str) -> None:
        with pytest.raises(SettingsError, match="set nsqd"):
            Run([handlers], told()).execute()

    def test_before_it_ran_there_is_nothing_to_sum_up(self, handlers: str) -> None:
        run = Run([handlers], told())
        assert run.summary() == ()
        assert run.left_behind == 0
