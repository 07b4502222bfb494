"""What is published in one turn of the event loop leaves together, and only what is to blame fails."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from nsqkit.errors import PublishError, RefusedError
from nsqkit.nsq.joining_publisher import JoiningPublisher
from nsqkit.nsq.publish_batcher import MAX_BYTES

NSQD, OTHER = "a:4150", "b:4150"


class FakePool:
    """Notes the commands; refuses those that contain a bad body, as nsqd does."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str, list[bytes]]] = []
        self.doubtful: set[bytes] = set()

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        await self.publish_together(address, topic, [body])

    async def publish_many(self, address: str, topic: str, bodies: Sequence[bytes]) -> None:
        await self.publish_together(address, topic, bodies)

    async def publish_together(self, address: str, topic: str, bodies: Sequence[bytes]) -> None:
        self.commands.append((address, topic, list(bodies)))
        if b"bad" in bodies:
            refusal = RefusedError(address, "E_BAD_MESSAGE", "it is bad")
            raise PublishError(topic, address, str(refusal), True) from refusal
        if b"lost" in bodies:
            raise PublishError(topic, address, "connection lost", False)

    def may_refuse(self, address: str, topic: str, bodies: Sequence[bytes]) -> bool:
        return not self.doubtful.isdisjoint(bodies)

    async def ensure_channel(self, address: str, topic: str, channel: str) -> None:
        raise NotImplementedError


@pytest.fixture
def pool() -> FakePool:
    return FakePool()


@pytest.fixture
def publisher(pool: FakePool) -> JoiningPublisher:
    fake: Any = pool
    return JoiningPublisher(fake)


async def all_of(*publishes: Any) -> list[BaseException | None]:
    outcomes: list[BaseException | None] = await asyncio.gather(*publishes, return_exceptions=True)
    return outcomes


async def test_publishes_of_one_turn_leave_in_one_command_per_nsqd_and_topic(
    pool: FakePool, publisher: JoiningPublisher
) -> None:
    await all_of(
        publisher.publish(NSQD, "orders", b"1"),
        publisher.publish(NSQD, "bills", b"2"),
        publisher.publish_many(NSQD, "orders", [b"3", b"4"]),
        publisher.publish(OTHER, "orders", b"5"),
    )
    assert sorted(pool.commands) == [
        (NSQD, "bills", [b"2"]),
        (NSQD, "orders", [b"1", b"3", b"4"]),
        (OTHER, "orders", [b"5"]),
    ]


async def test_of_a_refused_command_only_the_group_to_blame_fails(
    pool: FakePool, publisher: JoiningPublisher
) -> None:
    first, group, last = await all_of(
        publisher.publish(NSQD, "orders", b"1"),
        publisher.publish_many(NSQD, "orders", [b"2", b"bad"]),
        publisher.publish(NSQD, "orders", b"3"),
    )
    assert first is last is None
    assert isinstance(group, PublishError)
    assert group.permanent
    assert [bodies for _, _, bodies in pool.commands] == [
        [b"1", b"2", b"bad", b"3"],
        [b"1"],
        [b"2", b"bad"],
        [b"3"],
    ]


async def test_a_lost_connection_fails_all_of_the_command(
    pool: FakePool, publisher: JoiningPublisher
) -> None:
    failures = await all_of(
        publisher.publish(NSQD, "orders", b"1"), publisher.publish(NSQD, "orders", b"lost")
    )
    assert [type(each) for each in failures] == [PublishError, PublishError]
    assert len(pool.commands) == 1


@pytest.mark.parametrize(
    ("body", "defer_s"),
    [
        pytest.param(b"later", 5.0, id="NSQ has no deferred MPUB"),
        pytest.param(b"x" * MAX_BYTES, 0.0, id="a large one gains nothing"),
        pytest.param(b"doubtful", 0.0, id="one that nsqd may refuse"),
    ],
)
async def test_some_leave_alone(
    pool: FakePool, publisher: JoiningPublisher, body: bytes, defer_s: float
) -> None:
    pool.doubtful.add(b"doubtful")
    await all_of(
        publisher.publish(NSQD, "orders", b"1"),
        publisher.publish(NSQD, "orders", body, defer_s=defer_s),
        publisher.publish(NSQD, "orders", b"2"),
    )
    assert sorted(bodies for _, _, bodies in pool.commands) == sorted([[b"1", b"2"], [body]])
