"""Replacement: one child at a time; a failure stops it, and is not repeated at once."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog

from nsqkit import SettingsError
from nsqkit.process import replacement as module
from nsqkit.process.replacement import Replacement
from tests.waiting import until

if TYPE_CHECKING:
    from nsqkit.process.slot import Slot

LOG = structlog.get_logger()


class _Slot:
    """A place that notes its replacements, which end when the test says so."""

    def __init__(self, number: int, replaced: list[int], *, works: bool = True) -> None:
        self.number = number
        self.child: Any = SimpleNamespace(pid=number)
        self.may_end = asyncio.Event()
        self.may_end.set()
        self._replaced = replaced
        self._works = works

    async def replace(self, _: asyncio.Event) -> bool:
        self._replaced.append(self.number)
        await self.may_end.wait()
        return self._works


class Places:
    """Three places and what replaces their children."""

    def __init__(self) -> None:
        self.replaced: list[int] = []
        self.slots = [_Slot(number, self.replaced) for number in (1, 2, 3)]
        self.running: asyncio.Task[None] | None = None

    def start(self, max_memory_mb: int = 0) -> Replacement:
        made = Replacement(cast("list[Slot]", self.slots), max_memory_mb, LOG)
        self.running = asyncio.create_task(made.run())
        return made


@pytest.fixture
async def places() -> AsyncIterator[Places]:
    made = Places()
    yield made
    if made.running is not None:
        made.running.cancel()
        await asyncio.wait({made.running})


async def test_all_are_replaced_one_after_the_other(places: Places) -> None:
    places.slots[1].may_end.clear()
    with structlog.testing.capture_logs() as log:
        places.start().request()
        await until(lambda: places.replaced == [1, 2])
        assert [line["event"] for line in log] == ["workers_replacing"]
        places.slots[1].may_end.set()
        await until(lambda: len(log) == 2)
    assert places.replaced == [1, 2, 3]
    assert log[1]["event"] == "workers_replaced"


async def test_a_request_meanwhile_replaces_all_once_more(places: Places) -> None:
    places.slots[1].may_end.clear()
    with structlog.testing.capture_logs():
        replacement = places.start()
        replacement.request()
        await until(lambda: places.replaced == [1, 2])
        replacement.request()
        replacement.request()
        places.slots[1].may_end.set()
        await until(lambda: places.replaced == [1, 2, 3, 1, 2, 3])


async def test_a_failed_replacement_leaves_the_others_alone(places: Places) -> None:
    places.slots[1] = _Slot(2, places.replaced, works=False)
    with structlog.testing.capture_logs() as log:
        replacement = places.start()
        replacement.request()
        await until(lambda: places.replaced == [1, 2])
        places.slots[1] = _Slot(2, places.replaced)
        replacement.request()
        await until(lambda: [line["event"] for line in log][-1] == "workers_replaced")
    assert places.replaced == [1, 2, 1, 2, 3]


class TestMemory:
    """A child with more memory than the limit."""

    @pytest.fixture
    def resident_mb(self, monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
        """The memory of each child; a replacement starts with little."""
        known: dict[int, int] = {}
        monkeypatch.setattr(module, "MEMORY_LOOK_S", 0.0)
        monkeypatch.setattr(module, "resident_bytes", lambda pid: known.pop(pid, 50) * 1_000_000)
        return known

    async def test_it_is_replaced_and_no_other(self, places: Places, resident_mb: dict[int, int]) -> None:
        resident_mb.update({1: 100, 2: 101, 3: 99})
        with structlog.testing.capture_logs() as log:
            places.start(max_memory_mb=100)
            await until(lambda: places.replaced)
        assert places.replaced == [2]
        (line,) = log
        assert (line["event"], line["worker"], line["resident_mb"]) == ("worker_memory_high", 2, 101)

    async def test_one_that_is_restarted_has_none(self, places: Places, resident_mb: dict[int, int]) -> None:
        places.slots[0].child = None
        resident_mb.update({1: 500, 2: 500})
        with structlog.testing.capture_logs():
            places.start(max_memory_mb=100)
            await until(lambda: places.replaced)
        assert places.replaced == [2]

    async def test_a_failed_replacement_is_not_repeated_at_once(
        self, places: Places, resident_mb: dict[int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits: list[float] = []

        async def is_set_within(_: object, wait_s: float) -> bool:
            waits.append(wait_s)
            await asyncio.sleep(0)  # a turn of the loop has no event
            return False

        monkeypatch.setattr(module, "is_set_within", is_set_within)
        places.slots[0] = _Slot(1, places.replaced, works=False)
        resident_mb[1] = 500
        with structlog.testing.capture_logs():
            places.start(max_memory_mb=100)
            await until(lambda: len(waits) >= 3)
        assert waits[:3] == [0.0, module.RETRY_S, 0.0]


def test_a_limit_without_proc_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsqkit.process.memory._STATM", "/no/such/{}")
    with pytest.raises(SettingsError, match="max_worker_memory_mb"):
        Replacement([], 100, LOG).check()
