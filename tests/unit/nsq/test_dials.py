"""Dials: dead nsqd wait for each other, and no other nsqd waits for them."""

import asyncio
import math
from collections import Counter
from typing import Any

import pytest

from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq import dials as module
from nsqkit.nsq.dials import Dials
from nsqkit.policy.rate import RateLimit
from tests.waiting import turns, until

AT_ONCE = 5
NEVER = RateLimit(per_s=1e-6)
"""One dial may start, and no other within the test."""


class Nsqd:
    """Some nsqd, by their addresses: each answers, fails with an error, or is silent."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.failing: dict[str, Exception] = {}
        self.dialled: Counter[str] = Counter()
        self.dialling: list[str] = []

    def connection(self, address: str) -> Any:
        return _Connection(self, address)

    async def dial(self, address: str) -> None:
        self.dialled[address] += 1
        self.dialling.append(address)
        try:
            if address in self.silent:
                await asyncio.Event().wait()
            await turns()
            if (failure := self.failing.get(address)) is not None:
                raise failure
        finally:
            self.dialling.remove(address)


class _Connection:
    def __init__(self, nsqd: Nsqd, address: str) -> None:
        self._nsqd = nsqd
        self.address = address

    async def open(self) -> None:
        await self._nsqd.dial(self.address)


class Opening:
    """Opens connections, and keeps the tasks."""

    def __init__(self, nsqd: Nsqd) -> None:
        self.dials = Dials()
        self._nsqd = nsqd
        self.tasks: list[asyncio.Task[Any]] = []

    def start(self, *addresses: str) -> list[asyncio.Task[Any]]:
        started = [asyncio.create_task(self._open(address)) for address in addresses]
        self.tasks += started
        return started

    async def __call__(self, address: str) -> None:
        await until(self.start(address)[0].done)
        self.tasks[-1].result()

    async def fails(self, address: str) -> None:
        with pytest.raises(ConnectionLostError):
            await self(address)

    async def _open(self, address: str) -> None:
        assert (await self.dials.open(address, self._nsqd.connection)).address == address


@pytest.fixture
def nsqd() -> Nsqd:
    return Nsqd()


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", AT_ONCE)


@pytest.fixture
async def opening(nsqd: Nsqd, few: None) -> Any:
    opening = Opening(nsqd)
    yield opening
    for task in opening.tasks:
        task.cancel()
    await asyncio.gather(*opening.tasks, return_exceptions=True)
    assert not nsqd.dialling


def lost(address: str) -> ConnectionLostError:
    return ConnectionLostError(address, "Connection refused")


def many(count: int) -> list[str]:
    return [f"10.0.0.{n}:4150" for n in range(count)]


async def test_a_bounded_number_is_opened_at_once(nsqd: Nsqd, opening: Opening) -> None:
    nsqd.silent.update(many(20))
    opening.start(*many(20))
    await turns(20)
    assert nsqd.dialling == many(AT_ONCE)


async def test_silent_nsqd_keep_no_new_one_waiting(
    nsqd: Nsqd, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them ever has its time: that of a connection has no end here."""
    monkeypatch.setattr(module, "_HURRIED_S", 0.001)
    nsqd.silent.update(many(50))
    silent = opening.start(*many(50))
    await opening("healthy:4150")
    failures = {str(task.exception()) for task in silent if task.done()}
    assert failures <= {f"nsqd {address}: no answer in time" for address in many(50)}
    assert len(failures) > 50 - AT_ONCE


async def test_nobody_is_hurried_while_nobody_waits(
    nsqd: Nsqd, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HURRIED_S", 1e-9)
    nsqd.silent.update(many(AT_ONCE))
    silent = opening.start(*many(AT_ONCE))
    await turns(100)
    assert nsqd.dialling == many(AT_ONCE)
    await opening("healthy:4150")
    assert any(task.done() for task in silent)


async def test_dead_nsqd_are_tried_again_in_a_line_of_their_own(
    nsqd: Nsqd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENT", NEVER)
    opening = Opening(nsqd)
    nsqd.failing = {address: lost(address) for address in many(10)}
    for address in many(10):
        await opening.fails(address)
    waiting = opening.start(*many(10))
    await until(waiting[0].done)
    await opening("healthy:4150")
    assert nsqd.dialled.total() == 10 + 1 + 1
    assert [task.done() for task in waiting] == [True] + [False] * 9
    opening.dials.forget(many(10)[9])
    opening.dials.forget("unknown:4150")
    waiting[9].cancel()
    await opening.fails(many(10)[9])
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize("patient_after_s", [math.inf, 0.0])
async def test_an_nsqd_that_has_answered_is_tried_again_promptly_for_a_while(
    nsqd: Nsqd, monkeypatch: pytest.MonkeyPatch, patient_after_s: float
) -> None:
    monkeypatch.setattr(module, "_PATIENT", NEVER)
    monkeypatch.setattr(module, "_PATIENT_AFTER_S", 3600.0 if patient_after_s else 0.0)
    opening = Opening(nsqd)
    await opening("a:4150")
    nsqd.failing["a:4150"] = lost("a:4150")
    await opening.fails("a:4150")
    await opening.fails("a:4150")  # the one start of the patient line, if it is there
    (again,) = opening.start("a:4150")
    if patient_after_s:
        await until(again.done)
        assert isinstance(again.exception(), ConnectionLostError)
    else:
        await turns(20)
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)
    assert nsqd.dialled["a:4150"] == (4 if patient_after_s else 3)


async def test_connections_to_one_dead_nsqd_share_an_attempt(nsqd: Nsqd, opening: Opening) -> None:
    nsqd.failing["a:4150"] = lost("a:4150")
    tasks = opening.start(*["a:4150"] * 10)
    await asyncio.wait(tasks)
    assert nsqd.dialled["a:4150"] == 1
    assert {str(task.exception()) for task in tasks} == {"nsqd a:4150: Connection refused"}


@pytest.mark.parametrize("refused", [False, True])
async def test_connections_to_an_nsqd_that_answers_are_all_tried(
    nsqd: Nsqd, opening: Opening, *, refused: bool
) -> None:
    if refused:
        nsqd.failing["a:4150"] = RefusedError("a:4150", "E_UNAUTHORIZED", "no")
    tasks = opening.start(*["a:4150"] * 10)
    await asyncio.wait(tasks)
    assert nsqd.dialled["a:4150"] == 10
    assert [type(task.exception()) for task in tasks] == [RefusedError if refused else type(None)] * 10


async def test_a_cancelled_attempt_costs_the_others_nothing(nsqd: Nsqd, opening: Opening) -> None:
    nsqd.silent.update(many(10))
    running = opening.start(*many(10))
    shared = opening.start(many(1)[0])
    await turns(20)
    nsqd.silent.clear()
    for task in running:
        task.cancel()
    await asyncio.wait([*running, *shared])
    assert shared[0].exception() is None
    for address in many(10):
        await opening(address)
