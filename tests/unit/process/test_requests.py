"""Requests: each question has its own answer, a silent child is not waited for, and rubbish is found."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nsqkit.process import requests as module
from nsqkit.process.requests import Answers, NoAnswerError, Requests

STREAMS = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def link() -> AsyncIterator[tuple[STREAMS, STREAMS]]:
    """Both ends of a link: the parent's and the child's."""
    ours, theirs = socket.socketpair()
    ends = (await asyncio.open_unix_connection(sock=ours), await asyncio.open_unix_connection(sock=theirs))
    yield ends
    for _, writer in ends:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


class Talk:
    """A parent and a child that talk."""

    def __init__(self, link: tuple[STREAMS, STREAMS], **calls: Any) -> None:
        self.events: list[Any] = []
        self.requests = Requests(*link[0], self.events.append)
        self.answers = Answers(*link[1], calls)
        self._tasks = [
            asyncio.ensure_future(self.requests.read()),
            asyncio.ensure_future(self.answers.serve()),
        ]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_each_question_has_its_own_answer(link: tuple[STREAMS, STREAMS]) -> None:
    talk = Talk(link, double=lambda n: 2 * n)
    assert await asyncio.gather(*(talk.requests.ask("double", n=n) for n in range(5))) == [0, 2, 4, 6, 8]
    await talk.end()


async def test_a_failing_question_is_an_error_and_the_next_one_is_answered(
    link: tuple[STREAMS, STREAMS],
) -> None:
    talk = Talk(link, divide=lambda n: 6 // n)
    with pytest.raises(NoAnswerError, match="ZeroDivisionError"):
        await talk.requests.ask("divide", n=0)
    with pytest.raises(NoAnswerError, match="KeyError"):
        await talk.requests.ask("unknown")
    assert await talk.requests.ask("divide", n=2) == 3
    await talk.end()


async def test_an_answer_that_takes_a_while_delays_no_other(link: tuple[STREAMS, STREAMS]) -> None:
    free = asyncio.Event()

    async def slow() -> str:
        await free.wait()
        return "slow"

    talk = Talk(link, slow=slow, quick=lambda: "quick")
    slowly = asyncio.ensure_future(talk.requests.ask("slow"))
    assert await talk.requests.ask("quick") == "quick"
    assert not slowly.done()
    free.set()
    assert await slowly == "slow"
    await talk.end()


async def test_an_event_comes_without_a_question(link: tuple[STREAMS, STREAMS]) -> None:
    talk = Talk(link, done=lambda: True)
    talk.answers.tell("happened", n=1)
    await talk.requests.ask("done")
    assert talk.events == [{"event": "happened", "n": 1}]
    await talk.end()


async def test_a_silent_child_is_not_waited_for_and_its_late_answer_is_ignored(
    link: tuple[STREAMS, STREAMS], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.01)
    requests = Requests(*link[0], lambda _: None)
    reading = asyncio.ensure_future(requests.read())
    with pytest.raises(NoAnswerError, match="does not answer"):
        await requests.ask("late")
    monkeypatch.setattr(module, "ANSWER_S", 60.0)
    late = asyncio.ensure_future(Answers(*link[1], {"late": lambda: 1, "next": lambda: 2}).serve())
    assert await requests.ask("next") == 2
    for task in (reading, late):
        task.cancel()


async def test_a_child_that_ends_does_not_answer_and_is_not_waited_for(link: tuple[STREAMS, STREAMS]) -> None:
    requests = Requests(*link[0], lambda _: None)
    reading = asyncio.ensure_future(requests.read())
    asking = asyncio.ensure_future(requests.ask("state"))
    await link[1][0].readline()
    link[1][1].close()
    await reading
    for question in (asking, requests.ask("state")):
        with pytest.raises(NoAnswerError, match="does not answer"):
            await question


async def test_reading_ends_with_the_link(link: tuple[STREAMS, STREAMS]) -> None:
    requests = Requests(*link[0], lambda _: None)
    link[1][1].close()
    await requests.read()


@pytest.mark.parametrize("line", [b"rubbish\n", b"[]\n", b"3\n", b"x" * 100_000 + b"\n"])
async def test_rubbish_is_an_error(link: tuple[STREAMS, STREAMS], line: bytes) -> None:
    link[1][1].write(line)
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        await Requests(*link[0], lambda _: None).read()
