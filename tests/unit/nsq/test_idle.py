"""Idle: three looks in a row that find nothing end the wait."""

from collections.abc import Iterator

import pytest

from nsqkit.nsq.idle import wait_idle
from tests.waiting import turns


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsqkit.nsq.idle.INTERVAL_S", 0.0)


def looks(*results: bool) -> Iterator[bool]:
    return iter(results)


async def test_one_look_that_finds_something_begins_the_count_again() -> None:
    results = looks(True, True, False, True, True, True)

    async def is_idle() -> bool:
        return next(results)

    await wait_idle(is_idle, report=turns)
    assert next(results, None) is None


async def test_a_long_wait_is_reported() -> None:
    results = looks(*[False] * 250, True, True, True)
    reports: list[int] = []

    async def is_idle() -> bool:
        return next(results)

    async def report() -> None:
        reports.append(1)

    await wait_idle(is_idle, report=report)
    assert len(reports) == 2


async def test_giving_up_ends_it_before_the_next_look() -> None:
    async def is_idle() -> bool:
        raise NotImplementedError

    await wait_idle(is_idle, report=turns, gives_up=lambda: True)
