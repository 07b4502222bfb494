"""Companions: a worker starts, shows, pauses and stops them like handlers."""

import asyncio
import math

import pytest

from nsqkit import Settings, Worker
from nsqkit.admin import HandlerState, IntakeState
from nsqkit.errors import BridgeError
from nsqkit.worker.parts import Companion, CompanionParts, MakeCompanion

NOBODY = Settings(nsqd=("127.0.0.1:1",), admin_port=0, grace_s=1.5)


class Fake:
    """A companion that does nothing."""

    def __init__(self, name: str, *, failure: Exception | None = None) -> None:
        self.name = name
        self.problems: tuple[str, ...] = ()
        self.held = 0
        self.is_blocked = False
        self.calls: list[object] = []
        self.ready = asyncio.Event()
        self._failure = failure

    @property
    def state(self) -> HandlerState:
        return HandlerState(self.name, "topic", "source", self.held, 1, IntakeState.RUNNING)

    async def start(self) -> None:
        self.calls.append("start")
        if self._failure is not None:
            raise self._failure

    async def wait_ready(self) -> None:
        await self.ready.wait()

    async def stop(self, grace_s: float) -> None:
        self.calls.append(("stop", grace_s))

    def pause(self, for_s: float = math.inf) -> None:
        self.calls.append(("pause", for_s))

    def resume(self) -> None:
        self.calls.append("resume")


def _worker(*companions: Fake) -> Worker:
    def made(companion: Companion) -> MakeCompanion:
        return lambda _: companion

    return Worker([], settings=NOBODY, companions=[made(each) for each in companions])


async def test_a_worker_of_companions_only() -> None:
    one, two = Fake("one"), Fake("two")
    worker = _worker(one, two)
    assert worker.problems() == ("starting",)
    async with worker:
        assert worker.problems() == ()
        assert [state.name for state in worker.handler_states()] == ["one", "two"]
        ready = asyncio.ensure_future(worker.wait_ready())
        one.ready.set()
        two.ready.set()
        await ready
        one.held, two.is_blocked, two.problems = 3, True, ("two is blocked",)
        assert (worker.held, worker.is_blocked, worker.problems()) == (3, True, ("two is blocked",))
        assert worker.pause_handler("one", 5.0)
        assert worker.resume_handler("one")
        assert not worker.pause_handler("three", None)
    assert one.calls == ["start", ("pause", 5.0), "resume", ("stop", 1.5)]
    assert two.calls == ["start", ("stop", 1.5)]


async def test_one_that_cannot_start_stops_the_others() -> None:
    one, two = Fake("one"), Fake("two", failure=BridgeError("there is no topic"))
    with pytest.raises(BridgeError, match="there is no topic"):
        await _worker(one, two).start()
    assert (one.calls, two.calls) == (["start", ("stop", 0.0)], ["start", ("stop", 0.0)])


async def test_it_gets_the_parts_of_the_worker() -> None:
    found: list[CompanionParts] = []

    def make(parts: CompanionParts) -> Fake:
        found.append(parts)
        return Fake("one")

    worker = Worker([], settings=NOBODY, companions=[make])
    (parts,) = found
    assert (parts.settings, parts.metrics, parts.publishers) == (NOBODY, worker.metrics, worker.publishers)
