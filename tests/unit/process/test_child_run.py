"""Child run: what a child reports by itself and answers to its parent, and how it ends."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest

from nsqkit import Context, Handler, Settings, event
from nsqkit.devbroker import DevBroker
from nsqkit.loading.loader import LoadedModules
from nsqkit.ops.publish import publish_one
from nsqkit.process import child_run as module
from nsqkit.process.child import ParentLink, Plan
from nsqkit.process.child_run import ChildRun, leave_signals_to_parent
from nsqkit.process.child_state import ChildState
from nsqkit.process.requests import Requests
from nsqkit.process.targets import Loaded
from nsqkit.telemetry.metrics.cells import CellReader
from tests.unit.monitor.saga_bench import FakeReader, group
from tests.unit.reading import topics
from tests.waiting import PATIENCE_S, until


@event("child_run.came", version=1, topic="child-run")
@dataclass
class Came:
    """Nothing but its name."""


class Take(Handler[Came], channel="take", max_in_flight=7):
    async def handle(self, event: Came, ctx: Context) -> None:
        raise KeyError("gone")


class Child:
    """A child run in the process of the test, and its parent."""

    def __init__(self, settings: Settings) -> None:
        self.counts = CellReader()
        ours, theirs = socket.socketpair()
        self._ours = ours
        self.stop = asyncio.Event()
        self.events: list[str] = []
        plan = Plan(("unused",), settings, 1, self.counts.descriptor)
        self.run = ChildRun(plan, ParentLink(theirs.detach()))
        self.running: asyncio.Task[int] | None = None
        self.requests: Any = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=self._ours)
        self.requests = Requests(reader, self._writer, self._on_event)
        self._reading = asyncio.create_task(self.requests.read())
        self.running = asyncio.create_task(self.run._run(Loaded(LoadedModules((Take.spec,)))))

    def _on_event(self, message: Any) -> None:
        self.events.append(message["event"])
        if message["event"] == "counts":
            self.counts.extend(message["groups"])

    def shared(self, family: str) -> Sequence[float]:
        return self.counts.snapshot().families[f"nsqkit_{family}"].points

    async def end(self) -> int:
        self.stop.set()
        assert self.running is not None
        async with asyncio.timeout(PATIENCE_S):
            return await self.running

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._writer.close()
        self.counts.close()


@pytest.fixture
def saga(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler belongs to a saga."""
    monkeypatch.setattr(Take, "group", group(FakeReader()), raising=False)


@pytest.fixture
async def child(broker: DevBroker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Child]:
    settings = Settings(nsqd=(broker.tcp_address,), nsqd_http=(broker.http_address,), admin_port=0)
    made = Child(settings)
    monkeypatch.setattr("nsqkit.process.run.stop_event", lambda _: made.stop)
    monkeypatch.setattr(module, "SHARE_S", 0.01)
    await made.start()
    yield made
    await made.end()
    await made.close()


async def test_it_reports_its_counts_that_it_has_started_and_that_it_is_ready(child: Child) -> None:
    await until(lambda: "ready" in child.events)
    assert child.events[:2] == ["counts", "started"], "the counts first: it may be killed at any time"
    assert child.events.count("ready") == 1


async def test_its_state_is_that_of_its_worker(child: Child) -> None:
    await until(lambda: "ready" in child.events)
    state = ChildState.read(await child.requests.ask("state"))
    assert (state.faults, state.problems) == ((), ())
    (take,) = state.handlers
    assert (take.name, take.max_in_flight, take.state) == ("Take", 7, "running")
    assert (state.held, state.next_requeue_s, state.is_blocked) == (0, None, False)


async def test_it_pauses_and_resumes_handlers(child: Child) -> None:
    await until(lambda: "started" in child.events)
    assert await child.requests.ask("pause", name="Take", for_s=None)
    assert ChildState.read(await child.requests.ask("state")).handlers[0].state == "paused"
    assert await child.requests.ask("resume", name="Take")
    assert ChildState.read(await child.requests.ask("state")).handlers[0].state == "running"
    assert not await child.requests.ask("pause", name="Unknown", for_s=1.0)


async def test_it_says_where_it_is_subscribed(child: Child, broker: DevBroker) -> None:
    await until(lambda: "ready" in child.events)
    assert await child.requests.ask("subscribed", address=broker.tcp_address)
    assert not await child.requests.ask("subscribed", address="127.0.0.1:1")


async def test_it_answers_with_the_errors_of_its_handlers(child: Child) -> None:
    await until(lambda: "ready" in child.events)
    assert await child.requests.ask("recent_errors") == []
    await asyncio.to_thread(publish_one, "child-run", b"{}", child.run.settings)
    ((labels, errors),) = await until(lambda: child.requests.ask("recent_errors"))
    assert (labels, errors[0][0]) == (["child-run", "take", "Take"], "KeyError")
    (error,) = await child.requests.ask("errors", name="Take")
    assert error["examples"][0]["text"] == "KeyError: 'gone'"
    assert await child.requests.ask("errors", name="Unknown") == []


async def test_it_answers_with_its_sagas(saga: None, child: Child) -> None:
    await until(lambda: "ready" in child.events)
    assert (await child.requests.ask("sagas"))["attention"] == 1
    found = await child.requests.ask("timeline", saga="Ship", key="o 1")
    assert found["moments"][-1]["text"] == "needs attention: card [redacted]"
    assert await child.requests.ask("timeline", saga="Ship", key="o3") is None


async def test_its_counts_are_shared_while_it_runs_and_after_its_drain(child: Child) -> None:
    await until(lambda: "ready" in child.events)
    assert child.shared("max_in_flight") == (7,)
    child.run.metrics.for_handler("child-run", "take", "Take").max_in_flight(3)
    await until(lambda: child.shared("max_in_flight") == (3,))
    child.run.metrics.for_handler("child-run", "take", "Take").duration(0.5)
    assert await child.end() == 0
    (durations,) = child.counts.snapshot().families["nsqkit_handler_duration_seconds"].points
    assert sum(durations.counts) == 1


async def test_its_event_loop_is_measured(child: Child) -> None:
    lags = "event_loop_lag_seconds"
    await until(lambda: "ready" in child.events and sum(cast("Any", child.shared(lags))[0].counts))


async def test_the_channel_is_gone_from_nsqd_only_after_the_drain(child: Child, broker: DevBroker) -> None:
    await until(lambda: "ready" in child.events)
    assert await child.end() == 0
    (channel,) = (await topics(broker.http_address))["child-run"]["channels"]
    assert channel["client_count"] == 0


def test_without_memory_for_its_counts_it_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="memory for its counts"):
        ChildRun(Plan(("unused",), Settings()), cast("Any", None))


def test_ctrl_c_and_hang_up_are_the_parents() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        leave_signals_to_parent()
        assert {signal.getsignal(number) for number in before} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
