"""Background: a task that dies is logged at once and remembered; one that is cancelled or returns is not."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from nsqkit.background import Background
from tests.unit.runtime.bench import RecordingLog
from tests.waiting import turns


async def fail() -> None:
    await turns()
    raise LookupError("no such node")


async def stray() -> None:
    await turns()
    raise asyncio.CancelledError  # as a library may, though nobody has cancelled the task


async def hang() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        pytest.param(fail, "LookupError: no such node", id="an exception"),
        pytest.param(stray, "CancelledError: nobody cancelled the task", id="a stray cancellation"),
    ],
)
async def test_a_task_that_dies_is_logged_with_its_stack_and_named(
    work: Callable[[], Any], reason: str
) -> None:
    log = RecordingLog()
    background = Background(log)
    task = background.start(work(), "polls")
    await asyncio.wait({task})
    assert background.died == (f"background task 'polls' has died: {reason}",)
    ((level, event, fields),) = log.lines
    assert (level, event, fields["task"], fields["error"]) == (
        "error",
        "background_task_died",
        "polls",
        reason,
    )
    assert isinstance(fields["exc_info"], BaseException)


async def test_a_task_that_is_cancelled_or_returns_has_not_died() -> None:
    log = RecordingLog()
    background = Background(log)
    cancelled, returned = background.start(hang(), "hang"), background.start(turns(), "turns")
    await turns()
    cancelled.cancel()
    await asyncio.wait({cancelled, returned})
    assert (background.died, log.lines) == ((), [])


async def test_tasks_that_die_of_the_same_are_named_once() -> None:
    background = Background(RecordingLog())
    await asyncio.wait({background.start(fail(), "polls") for _ in range(3)})
    assert len(background.died) == 1


async def test_what_a_task_died_of_is_redacted() -> None:
    async def refuse() -> None:
        await turns()
        raise LookupError("pg://bob:s3cr3t@db refused")

    background = Background(RecordingLog())
    await asyncio.wait({background.start(refuse(), "polls")})
    assert background.died == ("background task 'polls' has died: LookupError: pg://[redacted]@db refused",)
