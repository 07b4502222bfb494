"""Gathering: what comes together leaves together, and each is told how it went."""

import asyncio
from collections.abc import Sequence

import pytest

from nsqkit.gathering import MAX_BYTES, MAX_MESSAGES, Gathering
from nsqkit.policy.errors import PublishError

REFUSAL = PublishError("t", "nsqd:4150", "connection lost", False)
BIG = b"x" * (MAX_BYTES // 4)


class Nsqd:
    """Takes commands while it is open, and fails those that it is told to."""

    def __init__(self) -> None:
        self.commands: list[Sequence[bytes]] = []
        self.failure: Exception | None = None
        self.has_command = asyncio.Event()
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def send(self, bodies: Sequence[bytes]) -> None:
        self.commands.append(bodies)
        self.has_command.set()
        await self.is_open.wait()
        if self.failure is not None:
            raise self.failure


@pytest.fixture
async def nsqd() -> Nsqd:
    return Nsqd()


async def test_what_comes_in_one_moment_leaves_in_one_command_in_its_order(nsqd: Nsqd) -> None:
    gathering = Gathering(nsqd.send)
    await asyncio.gather(*map(gathering.add, [b"1", b"2", b"3"]))
    assert nsqd.commands == [[b"1", b"2", b"3"]]


async def test_what_comes_after_a_command_waits_for_the_next(nsqd: Nsqd) -> None:
    gathering = Gathering(nsqd.send)
    await gathering.add(b"1")
    await gathering.add(b"2")
    assert nsqd.commands == [[b"1"], [b"2"]]


@pytest.mark.parametrize(
    ("bodies", "first"),
    [
        pytest.param([b"x"] * (MAX_MESSAGES + 1), MAX_MESSAGES, id="enough messages do not wait"),
        pytest.param([BIG] * 5, 4, id="enough bytes do not wait"),
    ],
)
async def test_a_command_has_a_largest_size(nsqd: Nsqd, bodies: list[bytes], first: int) -> None:
    gathering = Gathering(nsqd.send)
    await asyncio.gather(*map(gathering.add, bodies))
    assert [len(command) for command in nsqd.commands] == [first, len(bodies) - first]


async def test_nobody_is_told_before_nsqd_has_answered(nsqd: Nsqd) -> None:
    nsqd.is_open.clear()
    gathering = Gathering(nsqd.send)
    confirmed = gathering.add(b"1")
    draining = asyncio.create_task(gathering.drain())
    await nsqd.has_command.wait()
    assert not confirmed.done()
    nsqd.is_open.set()
    await draining
    assert confirmed.done()


async def test_a_failure_is_told_to_all_that_were_in_the_command(nsqd: Nsqd) -> None:
    nsqd.failure = REFUSAL
    gathering = Gathering(nsqd.send)
    told = await asyncio.gather(*map(gathering.add, [b"1", b"2"]), return_exceptions=True)
    assert told == [REFUSAL, REFUSAL]


@pytest.mark.parametrize("failure", [None, REFUSAL])
async def test_who_gives_up_waiting_disturbs_nobody(nsqd: Nsqd, failure: Exception | None) -> None:
    nsqd.failure = failure
    gathering = Gathering(nsqd.send)
    given_up, patient = gathering.add(b"1"), gathering.add(b"2")
    given_up.cancel()
    (told,) = await asyncio.gather(patient, return_exceptions=True)
    assert told is failure
    assert nsqd.commands == [[b"1", b"2"]]


async def test_draining_nothing_does_nothing(nsqd: Nsqd) -> None:
    await Gathering(nsqd.send).drain()
    assert nsqd.commands == []
