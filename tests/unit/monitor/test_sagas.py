"""Sagas on the page: read while somebody looks, in a thread; a database that is away harms nothing."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from nsqkit import Settings
from nsqkit.background import Background
from nsqkit.handler.group import HandlerGroup
from nsqkit.monitor import saga_database, sagas
from nsqkit.monitor.sagas import EVERY_S, MOST_INSTANCES, OLD_S, Sagas
from tests.unit.monitor.bench import Shop
from tests.unit.monitor.saga_bench import NEEDS, RUNS, SECRET, AwayError, FakeReader, group
from tests.unit.runtime.bench import RecordingLog
from tests.waiting import until


class Watched:
    """Sagas of one database, and the clock of who looks at them."""

    def __init__(self, *groups: type[HandlerGroup]) -> None:
        self.now_s = 0.0
        self.sagas = Sagas(groups, Settings(), Background(RecordingLog()), lambda: self.now_s)

    async def shown(self, after_s: float = 0.0) -> Any:
        self.now_s += after_s
        return await self.sagas.shown()


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
def watched(reader: FakeReader) -> Watched:
    return Watched(group(reader))


class Hanging(FakeReader):
    """A database that answers once a test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def _ask(self) -> None:
        super()._ask()
        assert self.free.wait(60)


@pytest.fixture
async def hanging(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hanging]:
    monkeypatch.setattr(sagas, "FIRST_S", 0.01)
    monkeypatch.setattr(saga_database, "ANSWER_S", 0.01)
    found = Hanging()
    yield found
    found.free.set()


async def test_handlers_without_a_saga_have_none() -> None:
    assert await Watched(HandlerGroup).shown() is None
    assert (await Shop().state())["sagas"] is None


async def test_the_first_look_has_them_those_that_need_attention_first(watched: Watched) -> None:
    found = await watched.shown()
    assert [each["key"] for each in found["instances"]] == ["o 1", "o2"]
    assert found["instances"][0]["reason"] == "card [redacted]"
    assert (found["attention"], found["problems"]) == (1, [])
    assert found["sagas"] == [
        {
            "name": "Ship",
            "database": "orders",
            "most": 10_000,
            "counts": {"needs_attention": 1, "running": 10_000, "completed": 7},
        }
    ]


async def test_the_screen_and_its_size_are_bounded(watched: Watched, reader: FakeReader) -> None:
    reader.instances = [replace(RUNS, key=f"{number:0>9000}", reason="x" * 9000) for number in range(100)]
    found = await watched.shown()
    assert len(found["instances"]) == MOST_INSTANCES
    assert {(len(each["key"]), len(each["reason"]), each["is_whole"]) for each in found["instances"]} == {
        (200, 300, False)
    }


async def test_it_is_read_at_most_once_in_five_seconds_and_only_for_somebody(
    watched: Watched, reader: FakeReader
) -> None:
    assert reader.asked == 0
    for _ in range(3):
        await watched.shown(1.0)
    assert reader.asked == 1
    reader.counts["needs_attention"] = 2
    assert (await watched.shown(EVERY_S))["attention"] == 1, "the page does not wait"
    await until(lambda: reader.asked == 2)
    assert (await until(watched.shown, lambda found: found["attention"] == 2))["attention"] == 2
    reader.counts["needs_attention"] = 3
    assert (await watched.shown(OLD_S + EVERY_S))["attention"] == 3, "after a pause it does"


async def test_a_database_that_is_away_is_one_line_and_others_are_shown(
    watched: Watched, reader: FakeReader
) -> None:
    await watched.shown()
    reader.error = AwayError(f"database orders is away: card {SECRET}")
    await watched.shown(EVERY_S)
    found = await until(watched.shown, lambda found: found["problems"])
    assert found["problems"] == ["database orders is away: card [redacted]"]
    assert found["attention"] == 1, "what was known stays"
    reader.error = ValueError("a driver may raise anything")
    await watched.shown(OLD_S + EVERY_S)
    assert (await watched.shown())["problems"] == ["ValueError: a driver may raise anything"]
    assert await watched.sagas.timeline("Ship", "o2") == {
        "problem": "ValueError: a driver may raise anything"
    }
    reader.error = None
    assert (await watched.shown(OLD_S + EVERY_S))["problems"] == []


async def test_a_database_that_hangs_keeps_one_thread_and_no_page(hanging: Hanging) -> None:
    watched = Watched(group(hanging))
    for _ in range(5):
        found = await watched.shown(EVERY_S)
        assert (found["is_read"], found["sagas"]) == (False, [])
        assert await watched.sagas.timeline("Ship", "o2") == {"problem": "database orders does not answer"}
    assert hanging.asked == 1
    hanging.free.set()
    assert await until(watched.shown, lambda found: found["is_read"])


async def test_a_reader_that_stops_ends_its_task(hanging: Hanging) -> None:
    watched = Watched(group(hanging))
    watched.sagas.close()
    await watched.shown()
    watched.sagas.close()
    await until(lambda: [each for each in asyncio.all_tasks() if "sagas" in each.get_name()] == [])


async def test_sagas_of_one_database_are_read_together(reader: FakeReader) -> None:
    watched = Watched(group(reader), group(reader), group(FakeReader()))
    assert len((await watched.shown())["sagas"]) == 2
    assert reader.asked == 1


async def test_a_timeline_is_redacted_and_tells_lines_apart(watched: Watched) -> None:
    found = await watched.sagas.timeline("Ship", "o 1")
    assert found is not None
    assert SECRET not in str(found)
    assert [each["kind"] for each in found["moments"]] == ["step", "step", "bad", "undo", "undo", "attention"]
    assert (found["database"], found["correlation_id"], found["problem"]) == ("orders", "Ship/o 1", "")
    assert await watched.sagas.timeline("Ship", "o3") is None


@pytest.mark.parametrize(
    ("instance", "commands"),
    [
        pytest.param(NEEDS, ["show orders Ship 'o 1'", "resume orders Ship 'o 1'"], id="it was compensating"),
        pytest.param(
            replace(NEEDS, step="charge"),
            [
                "show orders Ship 'o 1'",
                "resume orders Ship 'o 1'",
                "compensate orders Ship 'o 1' --reason TEXT",
            ],
            id="it was running",
        ),
        pytest.param(
            replace(RUNS, key="a; rm -rf '/'"),
            [
                """show orders Ship 'a; rm -rf '"'"'/'"'"''""",
                """compensate orders Ship 'a; rm -rf '"'"'/'"'"'' --reason TEXT""",
            ],
            id="a key with characters of the shell",
        ),
        pytest.param(replace(RUNS, status="compensated"), ["show orders Ship o2"], id="it is over"),
        pytest.param(replace(RUNS, key="a\n\x1b[2J"), [], id="a key that is no text for a terminal"),
    ],
)
async def test_commands_to_type(
    watched: Watched, reader: FakeReader, instance: Any, commands: list[str]
) -> None:
    reader.instances = [instance]
    found = await watched.sagas.timeline("Ship", instance.key)
    assert found is not None
    assert found["commands"] == [f"nsqkit saga {each}" for each in commands]
