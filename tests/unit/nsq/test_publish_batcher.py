"""PublishBatcher: what comes together leaves together, in its order, and each is told how it went."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from nsqkit.errors import PublishError
from nsqkit.nsq.publish_batcher import MAX_BYTES, MAX_MESSAGES, Groups, PublishBatcher

if TYPE_CHECKING:
    from collections.abc import Callable

LOST = PublishError("orders", "nsqd:4150", "connection lost", False)
REFUSED = PublishError("orders", "nsqd:4150", "E_BAD_MESSAGE", True)
BIG = b"x" * (MAX_BYTES // 4)


class Nsqd:
    """Takes commands while it is open, and fails those that it is told to."""

    def __init__(self) -> None:
        self.commands: list[list[bytes]] = []
        self.topics: list[str] = []
        self.fails: Callable[[list[bytes]], Exception | None] = lambda _: None
        self.has_command = asyncio.Event()
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def send(self, topic: str, groups: Groups) -> None:
        bodies = [body for group in groups for body in group]
        self.topics.append(topic)
        self.commands.append(bodies)
        self.has_command.set()
        await self.is_open.wait()
        if failure := self.fails(bodies):
            raise failure


@pytest.fixture
async def nsqd() -> Nsqd:
    return Nsqd()


@pytest.fixture(params=[0.0, 0.002], ids=["one turn of the loop", "2 ms"])
def batcher(nsqd: Nsqd, request: pytest.FixtureRequest) -> PublishBatcher:
    return PublishBatcher(nsqd.send, wait_s=request.param)


class TestAdd:
    """What may wait for others."""

    async def test_what_comes_in_one_moment_leaves_in_one_command_in_its_order(
        self, nsqd: Nsqd, batcher: PublishBatcher
    ) -> None:
        await asyncio.gather(*(batcher.add("orders", (body,)) for body in [b"1", b"2", b"3"]))
        assert nsqd.commands == [[b"1", b"2", b"3"]]

    async def test_every_topic_has_a_command_of_its_own(self, nsqd: Nsqd, batcher: PublishBatcher) -> None:
        await asyncio.gather(*(batcher.add(topic, (topic.encode(),)) for topic in ["a", "b", "a", "b"]))
        assert nsqd.commands == [[b"a", b"a"], [b"b", b"b"]]
        assert nsqd.topics == ["a", "b"]

    async def test_what_comes_after_a_command_waits_for_the_next(
        self, nsqd: Nsqd, batcher: PublishBatcher
    ) -> None:
        await batcher.add("orders", (b"1",))
        await batcher.add("orders", (b"2",))
        assert nsqd.commands == [[b"1"], [b"2"]]

    @pytest.mark.parametrize(
        ("bodies", "first"),
        [
            pytest.param([b"x"] * (MAX_MESSAGES + 1), MAX_MESSAGES, id="enough messages do not wait"),
            pytest.param([BIG] * 5, 4, id="enough bytes do not wait"),
        ],
    )
    async def test_a_command_has_a_largest_size(
        self, nsqd: Nsqd, batcher: PublishBatcher, bodies: list[bytes], first: int
    ) -> None:
        await asyncio.gather(*(batcher.add("orders", (body,)) for body in bodies))
        assert [len(command) for command in nsqd.commands] == [first, len(bodies) - first]

    async def test_nobody_is_told_before_nsqd_has_answered(self, nsqd: Nsqd, batcher: PublishBatcher) -> None:
        nsqd.is_open.clear()
        confirmed = batcher.add("orders", (b"1",))
        draining = asyncio.create_task(batcher.drain())
        await nsqd.has_command.wait()
        assert not confirmed.done()
        nsqd.is_open.set()
        await draining
        assert confirmed.done()

    async def test_each_that_was_in_a_failed_command_gets_an_error_of_its_own(
        self, nsqd: Nsqd, batcher: PublishBatcher
    ) -> None:
        nsqd.fails = lambda _: LOST
        adding = (batcher.add("orders", (body,)) for body in [b"1", b"2"])
        told = await asyncio.gather(*adding, return_exceptions=True)
        assert [(type(error), str(error)) for error in told] == [(PublishError, str(LOST))] * 2
        assert len({id(error) for error in (*told, LOST)}) == 3
        assert nsqd.commands == [[b"1", b"2"]], "it may have arrived, and is not sent twice"

    async def test_what_only_one_is_refused_for_fails_only_that_one(
        self, nsqd: Nsqd, batcher: PublishBatcher
    ) -> None:
        nsqd.fails = lambda bodies: REFUSED if b"bad" in bodies else None
        adding = (batcher.add("orders", (body,)) for body in [b"1", b"bad", b"2"])
        first, refused, last = await asyncio.gather(*adding, return_exceptions=True)
        assert (first, last) == (None, None)
        assert isinstance(refused, PublishError)
        assert refused.permanent
        assert nsqd.commands == [[b"1", b"bad", b"2"], [b"1"], [b"bad"], [b"2"]]

    async def test_those_who_wait_are_told_of_a_mistake_too(
        self, nsqd: Nsqd, batcher: PublishBatcher
    ) -> None:
        nsqd.fails = lambda _: ZeroDivisionError("a mistake")
        with pytest.raises(ZeroDivisionError):
            await batcher.add("orders", (b"1",))

    @pytest.mark.parametrize(("failure", "said"), [(None, "None"), (LOST, str(LOST))], ids=["taken", "lost"])
    async def test_who_gives_up_waiting_disturbs_nobody(
        self, nsqd: Nsqd, batcher: PublishBatcher, failure: Exception | None, said: str
    ) -> None:
        nsqd.fails = lambda _: failure
        given_up, patient = batcher.add("orders", (b"1",)), batcher.add("orders", (b"2",))
        given_up.cancel()
        (told,) = await asyncio.gather(patient, return_exceptions=True)
        assert str(told) == said
        assert nsqd.commands == [[b"1", b"2"]]

    async def test_draining_nothing_does_nothing(self, nsqd: Nsqd, batcher: PublishBatcher) -> None:
        await batcher.drain()
        assert nsqd.commands == []


class TestPublish:
    """What waits for others only where something is under way."""

    async def test_one_after_another_leaves_alone_and_waits_for_nobody(self, nsqd: Nsqd) -> None:
        batcher = PublishBatcher(nsqd.send, wait_s=3600.0)
        for body in [b"1", b"2"]:
            await batcher.publish("orders", body)
        assert nsqd.commands == [[b"1"], [b"2"]]

    async def test_what_comes_beside_it_leaves_together(self, nsqd: Nsqd, batcher: PublishBatcher) -> None:
        async def publish(body: bytes) -> None:
            await batcher.publish("orders", body)

        nsqd.is_open.clear()
        publishing = asyncio.gather(*map(publish, [b"1", b"2", b"3"]))
        await nsqd.has_command.wait()
        nsqd.is_open.set()
        await publishing
        assert nsqd.commands == [[b"1"], [b"2", b"3"]]

    async def test_the_failure_of_one_alone_is_its_own_and_the_next_is_alone_again(
        self, nsqd: Nsqd, batcher: PublishBatcher
    ) -> None:
        nsqd.fails = lambda _: LOST
        for _ in range(2):
            with pytest.raises(PublishError) as caught:
                await batcher.publish("orders", b"1")
            assert caught.value is LOST


class TestAfter:
    """What leaves by itself keeps its place."""

    async def test_it_leaves_behind_what_is_here_for_its_topic_and_before_what_comes(
        self, nsqd: Nsqd, batcher: PublishBatcher
    ) -> None:
        before = [batcher.add("orders", (body,)) for body in [b"1", b"2"]]
        alone = batcher.after("orders", nsqd.send("orders", [[b"3"]]))
        behind = [batcher.add("orders", (body,)) for body in [b"4", b"5"]]
        await asyncio.gather(*before, alone, *behind)
        assert nsqd.commands == [[b"1", b"2"], [b"3"], [b"4", b"5"]]

    async def test_its_failure_is_its_own_and_does_not_end_a_drain(
        self, nsqd: Nsqd, batcher: PublishBatcher
    ) -> None:
        nsqd.fails = lambda bodies: LOST if bodies == [b"alone"] else None
        alone = batcher.after("orders", nsqd.send("orders", [[b"alone"]]))
        beside = batcher.add("orders", (b"1",))
        await batcher.drain()
        assert alone.exception() is LOST
        assert beside.result() is None
