"""Top: the screens of workers, their order, and why there is none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nsqkit.errors import NsqkitError, SettingsError
from nsqkit.ops.top import Look, Sort, look_at, rows
from tests.unit.monitor.port import MonitorPort
from tests.unit.nsq.fake_http import Answer, FakeHttp
from tests.waiting import turns

NOBODY = "127.0.0.1:1"


@asynccontextmanager
async def served(token: str = "") -> AsyncIterator[MonitorPort]:
    """An admin port whose monitor takes samples all the time."""
    port = MonitorPort(token)
    port.number = await port.server.start()

    async def sample() -> None:
        while True:
            port.shop.run(1)
            await turns()

    sampling = asyncio.create_task(sample())
    yield port
    sampling.cancel()
    await port.server.stop()


async def test_each_worker_has_its_screen_or_its_error() -> None:
    async with served() as one:
        screen, nobody = await look_at([one.address, NOBODY])
    assert screen.screen is not None
    assert [row["name"] for row in screen.screen["handlers"]] == ["Charge", "Notify"]
    assert nobody.screen is None
    assert str(nobody.error) == f"worker {NOBODY}: Connection refused; is this its admin port?"


async def test_a_worker_that_requires_a_token_gets_it() -> None:
    async with served("s3cret") as port:
        (look,) = await look_at([port.address], "s3cret")
        assert look.screen is not None
        (look,) = await look_at([port.address], "other")
    assert isinstance(look.error, SettingsError)
    assert str(look.error).startswith(f"worker {port.address}: send the value of admin_token")
    assert "NSQKIT_ADMIN_TOKEN" in str(look.error)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param((404, {"message": "NOT_FOUND"}), "NOT_FOUND; is this the admin port", id="nsqd"),
        pytest.param((200, b"<html>"), "this is a web page", id="a web page"),
        pytest.param((200, {"handlers": []}), "has no first screen", id="other JSON"),
        pytest.param(
            (200, {"verdict": {"level": "ok"}, "handlers": [{"name": "A"}]}), "m1", id="another version"
        ),
        pytest.param((200, {"verdict": {"level": "fine"}, "handlers": []}), "fine", id="an unknown level"),
    ],
)
async def test_what_is_no_worker_is_named(answer: Answer, reason: str) -> None:
    async with FakeHttp(answer) as other:
        (look,) = await look_at([other.address])
    assert isinstance(look.error, NsqkitError)
    assert str(look.error).startswith(f"worker {other.address}: ")
    assert reason in str(look.error)


async def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(SettingsError, match="localhost"):
        await look_at(["localhost"])


def row(name: str, level: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "level": level, "m1": 0.0, "throughput": 1.0, "oldest_s": 1.0} | changes


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        pytest.param("worst", "Bad Bad Held Ok Zero", id="the worst level first, then the highest rate"),
        pytest.param("rate", "Held Bad Bad Ok Zero", id="the most deliveries first"),
        pytest.param("age", "Zero Ok Bad Bad Held", id="the oldest first; -1 is above all, None is none"),
        pytest.param("name", "Bad Bad Held Ok Zero", id="by name"),
    ],
)
def test_handlers_of_all_workers_are_in_one_order(sort: Sort, names: str) -> None:
    one = [row("Ok", "ok", oldest_s=30.0), row("Bad", "bad", m1=0.2), row("Zero", "unknown", oldest_s=-1)]
    other = [row("Bad", "bad", m1=0.4), row("Held", "held", m1=None, throughput=9.0, oldest_s=None)]
    looks = [Look("a:1", {"handlers": one}), Look(NOBODY), Look("b:1", {"handlers": other})]
    found = rows(looks, sort)
    assert " ".join(each.handler["name"] for each in found) == names
    bad = [each.worker for each in found if each.handler["name"] == "Bad"]
    assert bad == ([3, 1] if sort == "worst" else [1, 3])
