"""Letters: the page shows the newest dead letters of a handler, and replays each once."""

import asyncio
from pathlib import Path

import pytest
import structlog

from nsqkit import Settings, SettingsError
from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.store import Store
from nsqkit.devbroker import DevBroker
from nsqkit.monitor.letters import Letters
from tests.unit.dead_letters.letters import BODY, letter
from tests.unit.monitor.bench import CHARGE, NOTIFY
from tests.unit.reading import take

HERE = "127.0.0.1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dead.sqlite"


def _letters(path: Path, nsqd: str = "127.0.0.1:1") -> Letters:
    settings = Settings(nsqd=(nsqd,), dead_store=str(path))
    return Letters(lambda: settings)


async def test_without_a_store_there_is_none_and_none_is_made(path: Path) -> None:
    assert (await _letters(path).newest(CHARGE))["store"] is None
    with pytest.raises(SettingsError, match="nsqkit dead collect"):
        await _letters(path).replay(CHARGE, 1, remote=HERE)
    assert not any(path.parent.iterdir())


async def test_the_newest_of_this_handler_come_first(path: Path) -> None:
    with Store(path, make=True) as store:
        store.add([letter(number, dead_at=f"2026-01-01T00:0{number}:00.000000Z") for number in range(1, 8)])
        store.add([letter(8, dead_topic="orders.notify.dead")])
    found = await _letters(path).newest(CHARGE)
    assert found["count"] == 7
    assert [each["id"] for each in found["letters"]] == [7, 6, 5, 4, 3]
    assert [each["id"] for each in (await _letters(path).newest(NOTIFY))["letters"]] == [8]


async def test_a_file_that_is_no_store_is_named(path: Path) -> None:
    path.write_bytes(b"no database, but long enough to be read as one")  # noqa: ASYNC240 - nothing else runs
    assert "not a database" in (await _letters(path).newest(CHARGE))["problem"]


async def test_two_clicks_are_one_replay_in_the_store_and_in_the_log(path: Path, broker: DevBroker) -> None:
    with Store(path, make=True) as store:
        store.add([letter(1, nsqd=broker.tcp_address)])
    letters = _letters(path, broker.tcp_address)
    with structlog.testing.capture_logs() as lines:
        done = await asyncio.gather(
            *(letters.replay(CHARGE, 1, remote=HERE) for _ in range(2)), return_exceptions=True
        )
    assert [type(each) for each in done] == [type(None), SettingsError]
    assert "nsqkit dead replay 1 --again" in str(done[1])
    assert lines == [
        {
            "event": "dead_letter_replayed",
            "log_level": "info",
            "dead_letter": 1,
            "handler": "Charge",
            "target": "orders.payments.retry",
            "remote": HERE,
        }
    ]
    assert await take(broker.tcp_address, "orders.payments.retry", 1, "payments") == [BODY]
    with Store(path) as store:
        assert [each.replays for each in store.find(Filters())] == [1]
