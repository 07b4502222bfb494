"""Time limits: a block of the event loop counts as a part of the time at most."""

import asyncio
import threading

import pytest

from nsqkit.nsq.time_limit import LoopTime, TimeLimit
from tests.waiting import PATIENCE_S, turns

NEVER_S = 3600.0


def block(seconds: float) -> None:
    """Keep the event loop from turning."""
    threading.Event().wait(seconds)


async def test_what_takes_too_long_is_cancelled() -> None:
    with pytest.raises(TimeoutError):
        async with TimeLimit(0.01):
            await asyncio.Event().wait()


async def test_an_error_of_the_block_is_raised_as_it_is() -> None:
    with pytest.raises(LookupError):
        async with TimeLimit(NEVER_S):
            raise LookupError


async def test_a_cancellation_from_outside_is_not_a_timeout() -> None:
    async def work() -> None:
        async with TimeLimit(NEVER_S):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_answer_that_came_while_the_loop_was_blocked_is_in_time() -> None:
    """With asyncio.timeout it is too late: timers that are due run before the task that the answer wakes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(b"y")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        async with TimeLimit(0.2):
            writer.write(b"x")
            block(0.3)
            assert await reader.readexactly(1) == b"y"
        writer.close()


async def test_the_time_is_over_after_its_parts() -> None:
    ended = asyncio.Event()
    time = LoopTime(0.01, ended.set)
    assert not time.is_nearly_over
    await asyncio.wait_for(ended.wait(), PATIENCE_S)
    assert time.is_nearly_over


async def test_a_block_counts_as_one_part() -> None:
    time = LoopTime(0.01)
    block(0.05)
    await turns(2)
    assert not time.is_nearly_over
    time.cancel()
