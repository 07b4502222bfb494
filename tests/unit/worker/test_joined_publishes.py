"""What the messages of one chunk leave behind is one command, confirmed before any of them is finished."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from nsqkit import Context, Handler, Settings, Worker, event
from tests.unit.nsq.fake_nsqd import FakeNsqd, Peer, message_frame, mpub, pub

TOPIC, RETRY = "joining", "joining.work.retry"
IDS = [b"%016x" % n for n in range(50)]
EVENTS = [b"event %d" % n for n in range(50)]


@event("joining.asked", version=1, topic=TOPIC)
@dataclass
class Asked:
    n: int


class AtOnce(Handler[Asked], channel="work", max_in_flight=len(IDS)):
    async def handle(self, event: Asked, ctx: Context) -> None:
        ctx.publish_raw("joined", EVENTS[event.n])


class AllAtOnce(Handler[Asked], channel="work", max_in_flight=len(IDS)):
    def __init__(self) -> None:
        self._all_here = asyncio.Barrier(len(IDS))

    async def handle(self, event: Asked, ctx: Context) -> None:
        await self._all_here.wait()
        ctx.publish_raw("joined", EVENTS[event.n])


@pytest.fixture
async def nsqd() -> AsyncIterator[FakeNsqd]:
    async with FakeNsqd() as fake:
        yield fake


@asynccontextmanager
async def working(
    nsqd: FakeNsqd, handler: type[Handler[Asked]] = AtOnce
) -> AsyncIterator[tuple[Worker, Peer]]:
    """Run a worker; yield it and nsqd's end of the connection of its topic."""
    settings = Settings(nsqd=(nsqd.address,), admin_port=0, grace_s=0.0, rdy="fixed")
    worker = Worker([handler], settings=settings)
    await worker.start()
    peers = await nsqd.serve(TOPIC, RETRY, channel="work")
    yield worker, peers[TOPIC]
    for peer in peers.values():
        peer.writer.close()
    await worker.stop()


def deliver(peer: Peer, *numbers: int) -> None:
    peer.send(b"".join(message_frame(IDS[n], b'{"n": %d}' % n) for n in numbers))


async def answers(peer: Peer, count: int) -> dict[bytes, bytes]:
    """Return FIN or REQ by message, of so many messages."""
    found: dict[bytes, bytes] = {}
    while len(found) < count:
        kind, *rest = (await peer.command()).split()
        if kind in {b"FIN", b"REQ"}:
            found[rest[0]] = kind
    return found


def answered(kind: bytes, *numbers: int) -> dict[bytes, bytes]:
    return {IDS[n]: kind for n in numbers}


@pytest.mark.parametrize("handler", [AtOnce, AllAtOnce])
async def test_one_event_each_of_fifty_messages_leaves_in_one_command(
    nsqd: FakeNsqd, handler: type[Handler[Asked]]
) -> None:
    async with working(nsqd, handler) as (worker, peer):
        deliver(peer, *range(50))
        publisher = await nsqd.publisher()
        header, *rest = (await publisher.command()).split(b"event ")
        assert (header[:12], len(rest)) == (b"MPUB joined\n", 50)
        assert worker.held == 50, "none is finished before nsqd has confirmed all"
        publisher.respond()
        assert await answers(peer, 50) == answered(b"FIN", *range(50))
        assert nsqd.is_idle


async def test_dead_letters_of_a_chunk_leave_in_one_command(nsqd: FakeNsqd) -> None:
    async with working(nsqd) as (worker, peer):
        peer.send(b"".join(message_frame(id_, b"nonsense") for id_ in IDS))
        creating = await nsqd.publisher()
        await creating.expect(b"SUB joining.work.dead dead\n")
        creating.respond()
        publisher = await nsqd.publisher()
        command = await publisher.command()
        assert command.startswith(b"MPUB joining.work.dead\n")
        assert [id_ for id_ in IDS if id_ not in command] == []
        assert worker.held == 50
        publisher.respond()
        assert await answers(peer, 50) == answered(b"FIN", *range(50))


async def test_the_message_whose_event_is_refused_comes_again_and_the_others_are_finished(
    nsqd: FakeNsqd,
) -> None:
    async with working(nsqd) as (_, peer):
        deliver(peer, 0, 1, 2)
        publisher = await nsqd.publisher()
        await publisher.expect(mpub(*EVENTS[:3], topic=b"joined"))
        publisher.refuse(b"E_BAD_MESSAGE MPUB message too big")
        publisher = await nsqd.publisher()
        await publisher.expect(*(pub(each, b"joined") for each in EVENTS[:3]))
        publisher.respond()
        publisher.refuse(b"E_BAD_MESSAGE PUB message too big")
        publisher = await nsqd.publisher()
        await publisher.expect(pub(EVENTS[2], b"joined"))
        publisher.respond()
        assert await answers(peer, 3) == answered(b"FIN", 0, 2) | answered(b"REQ", 1)


async def test_if_the_connection_is_lost_before_the_answer_all_come_again(nsqd: FakeNsqd) -> None:
    async with working(nsqd) as (_, peer):
        deliver(peer, 0, 1, 2)
        publisher = await nsqd.publisher()
        await publisher.expect(mpub(*EVENTS[:3], topic=b"joined"))
        await publisher.close()
        assert await answers(peer, 3) == answered(b"REQ", 0, 1, 2)
        deliver(peer, 0, 1, 2)
        publisher = await nsqd.publisher()
        await publisher.expect(mpub(*EVENTS[:3], topic=b"joined"))
        publisher.respond()
        assert await answers(peer, 3) == answered(b"FIN", 0, 1, 2)
