import asyncio
import contextlib
import gc
import socket
import struct
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from nsqkit.devbroker import DevBroker, DevLookupd
from nsqkit.devbroker.clocks import Clocks
from tests.unit.devbroker.raw_client import (
    ERROR,
    HEARTBEAT,
    RESPONSE,
    RawClient,
    dpub,
    http,
    identify,
    mpub,
    pub,
    sized,
)
from tests.waiting import PATIENCE_S, turns, until

OK = (RESPONSE, b"OK")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def stopped(clock: Clock) -> AsyncIterator[DevBroker]:
    """A broker whose time stands still until the test moves it."""
    broker = DevBroker(0, 0, clocks=Clocks(monotonic_s=clock, wall_ns=lambda: 5))
    await broker.start()
    yield broker
    await broker.stop()


async def test_a_message_goes_from_one_client_to_another(broker: DevBroker) -> None:
    consumer = await RawClient.connect(broker.tcp_address)
    await consumer.subscribe("t", "c", ready=1)
    producer = await RawClient.connect(broker.tcp_address)
    assert await producer.ask(pub("t", b"x")) == OK
    message = await consumer.message()
    assert (message.body, message.attempts) == (b"x", 1)
    consumer.send(b"FIN " + message.id + b"\n")
    assert await consumer.ask(b"CLS\n") == (RESPONSE, b"CLOSE_WAIT")
    assert not broker.ledger.topics["t"].channels["c"].in_flight
    await consumer.close()
    await producer.close()


async def test_commands_split_at_any_byte_are_understood(broker: DevBroker) -> None:
    client = await RawClient.connect(broker.tcp_address)
    for byte in pub("t", b"one") + mpub("t", b"two", b"three"):
        client.send(bytes([byte]))
        await turns()
    assert [await client.frame(), await client.frame()] == [OK, OK]
    assert [m.body for m in broker.ledger.topics["t"].backlog] == [b"one", b"two", b"three"]
    await client.close()


async def test_a_fatal_error_is_sent_before_the_connection_closes(broker: DevBroker) -> None:
    client = await RawClient.connect(broker.tcp_address)
    assert await client.exchange(b"RDY 1\n") == [(ERROR, b"E_INVALID cannot RDY in current state")]
    assert await _gone(broker)


async def test_a_bad_magic_is_refused(broker: DevBroker) -> None:
    client = await RawClient.connect(broker.tcp_address, magic=b"GET ")
    assert await client.frames_to_the_end() == [(ERROR, b"E_BAD_PROTOCOL")]
    await client.close()


async def test_nothing_more_is_delivered_to_a_session_that_ended(broker: DevBroker) -> None:
    client = await RawClient.connect(broker.tcp_address)
    frames = await client.exchange(pub("t", b"x"), b"SUB t c\nRDY 1\n")
    assert [kind for kind, _ in frames] == [RESPONSE, RESPONSE, ERROR]
    assert len(broker.ledger.topics["t"].channels["c"].queued) == 1


async def test_a_half_closed_connection_is_read_to_its_end(broker: DevBroker) -> None:
    client = await RawClient.connect(broker.tcp_address)
    await client.subscribe("t", "c", ready=10)
    client.send(*(pub("t", b"x") for _ in range(10)))
    frames = [await client.frame() for _ in range(20)]
    ids = [frame[1][10:26] for frame in frames if frame is not None and frame[0] == 2]
    client.send(*(b"FIN " + message_id + b"\n" for message_id in ids))
    client._writer.write_eof()
    assert await client.frames_to_the_end() == []
    assert not broker.ledger.topics["t"].channels["c"].in_flight
    await client.close()


async def test_a_client_that_hangs_up_in_the_middle_of_a_body_is_told(broker: DevBroker) -> None:
    client = await RawClient.connect(broker.tcp_address)
    client.send(b"PUB t\n")
    client._writer.write_eof()
    assert await client.frames_to_the_end() == [
        (ERROR, b"E_BAD_MESSAGE PUB failed to read message body size")
    ]
    await client.close()


@pytest.mark.parametrize(
    "unfinished",
    [
        pytest.param(b"PUB t\n" + struct.pack(">i", 1_000_001) + b"x" * 1_000_000, id="PUB"),
        pytest.param(
            b"MPUB t\n" + struct.pack(">ii", 5_000_000, 5) + sized(*[b"x" * 900_000] * 4), id="MPUB"
        ),
    ],
)
async def test_an_unfinished_body_is_freed_when_the_client_leaves(
    broker: DevBroker, unfinished: bytes
) -> None:
    """The garbage collector need not run for it."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(20):
            client = await RawClient.connect(broker.tcp_address)
            client.send(unfinished)
            await client.close()
        await until(lambda: not broker._tcp.connections)
        left_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert left_bytes < 5_000_000


@pytest.mark.parametrize("server", [DevBroker, DevLookupd])
@pytest.mark.parametrize("later", range(5))
async def test_a_connection_that_comes_while_it_stops_is_closed_too(
    server: type[DevBroker | DevLookupd], later: int
) -> None:
    """Whether the kernel has it, or the loop, or the server already."""
    stopping = server(0, 0)
    await stopping.start()
    host, _, port = stopping.tcp_address.rpartition(":")
    with socket.create_connection((host, int(port))) as client:
        client.setblocking(False)
        await turns(later)
        await stopping.stop()
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b""


class TestTimers:
    async def test_timers_fire_by_themselves(self, broker: DevBroker) -> None:
        client = await RawClient.connect(broker.tcp_address)
        await client.subscribe("t", "c", ready=1, msg_timeout=1000)
        client.send(dpub("t", 20, b"x"))
        assert await client.frame() == OK
        first = await client.message()
        client.send(b"REQ " + first.id + b" 20\n")
        second = await client.message()
        third = await client.message()  # the second delivery's timeout
        assert [m.attempts for m in (first, second, third)] == [1, 2, 3]
        channel = broker.ledger.topics["t"].channels["c"]
        assert (channel.requeue_count, channel.timeout_count) == (1, 1)
        await client.close()

    async def test_a_later_message_may_be_due_earlier(self, broker: DevBroker) -> None:
        client = await RawClient.connect(broker.tcp_address)
        await client.subscribe("t", "c", ready=1)
        assert await client.ask(dpub("t", 3_600_000, b"late")) == OK
        assert await client.ask(dpub("t", 20, b"soon")) == OK
        assert (await client.message()).body == b"soon"
        await client.close()

    async def test_a_clock_of_the_tests_own_decides_what_is_due(
        self, stopped: DevBroker, clock: Clock
    ) -> None:
        client = await RawClient.connect(stopped.tcp_address)
        await client.subscribe("t", "c", ready=1)
        await client.ask(dpub("t", 3_600_000, b"x"))
        clock.now_s += 3599.9
        stopped.wake()
        assert len(stopped.ledger.topics["t"].channels["c"].deferred) == 1
        clock.now_s += 0.1
        stopped.wake()
        message = await client.message()
        assert (message.body, message.timestamp_ns) == (b"x", 5)
        await client.close()


class TestHeartbeats:
    async def test_a_client_that_answers_stays(self, broker: DevBroker) -> None:
        client = await RawClient.connect(broker.tcp_address)
        assert await client.ask(identify(heartbeat_interval=1000)) == OK
        for _ in range(3):
            assert await client.frame() == HEARTBEAT
            client.send(b"NOP\n")
        assert await client.ask(pub("t", b"x")) == OK
        await client.close()

    async def test_a_silent_one_is_closed_after_two(self, broker: DevBroker) -> None:
        client = await RawClient.connect(broker.tcp_address)
        assert await client.ask(identify(heartbeat_interval=1000)) == OK
        assert await client.frames_to_the_end() == [HEARTBEAT]
        await client.close()

    async def test_one_that_is_silent_in_the_middle_of_a_body_is_told(self, broker: DevBroker) -> None:
        client = await RawClient.connect(broker.tcp_address)
        assert await client.ask(identify(heartbeat_interval=1000)) == OK
        client.send(b"PUB t\n\0\0\0\5abc")
        error = (ERROR, b"E_BAD_MESSAGE PUB failed to read message body")
        assert (await client.frames_to_the_end())[-1] == error
        await client.close()

    async def test_one_that_wants_none_gets_none_and_stays(self, broker: DevBroker) -> None:
        client = await RawClient.connect(broker.tcp_address)
        assert await client.ask(identify(heartbeat_interval=-1)) == OK
        (connection,) = broker._tcp.connections
        assert connection._heartbeat_timer is None
        await client.close()


class TestDeletion:
    @pytest.mark.parametrize("path", ["/topic/delete?topic=t", "/channel/delete?topic=t&channel=c"])
    async def test_consumers_of_what_is_deleted_are_disconnected(self, broker: DevBroker, path: str) -> None:
        client = await RawClient.connect(broker.tcp_address)
        await client.subscribe("t", "c", ready=1)
        assert await http(broker.http_address, "POST", path) == (200, b"")
        assert await client.frames_to_the_end() == []
        await client.close()

    async def test_an_ephemeral_channel_goes_when_its_client_hangs_up(self, broker: DevBroker) -> None:
        client = await RawClient.connect(broker.tcp_address)
        await client.subscribe("t", "c#ephemeral")
        await client.close()
        assert await _gone(broker)
        assert not broker.ledger.topics["t"].channels


async def test_a_client_that_does_not_read_does_not_keep_stop_waiting(broker: DevBroker) -> None:
    host, _, port = broker.tcp_address.rpartition(":")
    with socket.create_connection((host, int(port))) as idle:
        idle.sendall(b"  V2" + b"SUB t c\nRDY 100\n")
        client = await RawClient.connect(broker.tcp_address)
        for _ in range(20):
            assert await client.ask(b"PUB t\n" + sized(b"x" * 1_000_000)) == OK
        await client.close()
        await broker.stop()
    assert not broker._tcp.connections


async def _gone(broker: DevBroker) -> bool:
    """Wait until the broker has noticed that its clients hung up."""
    await asyncio.gather(*(connection.closed for connection in broker._tcp.connections))
    return not broker._tcp.connections


class TestOutputBuffer:
    """Messages wait for each other, but not once their client is ready for no more."""

    @pytest.fixture
    async def consumer(self, stopped: DevBroker) -> AsyncIterator[RawClient]:
        client = await RawClient.connect(stopped.tcp_address)
        await client.subscribe("t", "c", ready=3, output_buffer_timeout=30_000)
        yield client
        await client.close()

    async def bodies(self, client: RawClient, count: int) -> list[bytes]:
        return [message.body for message in await client.messages(count)]

    async def test_they_are_held_until_the_next_tick(
        self, stopped: DevBroker, clock: Clock, consumer: RawClient
    ) -> None:
        await self.publish(stopped, b"1", b"2")
        assert _held(stopped) == 70
        clock.now_s += 29.9
        stopped.wake()
        assert _held(stopped) == 70
        clock.now_s += 0.1
        stopped.wake()
        assert await self.bodies(consumer, 2) == [b"1", b"2"]
        assert _held(stopped) == 0

    async def test_as_many_as_the_client_is_ready_for_go_out_at_once(
        self, stopped: DevBroker, consumer: RawClient
    ) -> None:
        await self.publish(stopped, b"1", b"2", b"3")
        assert await self.bodies(consumer, 3) == [b"1", b"2", b"3"]

    @pytest.mark.parametrize("ready", [0, 1, 2])
    async def test_being_ready_for_fewer_lets_them_out(
        self, stopped: DevBroker, consumer: RawClient, ready: int
    ) -> None:
        await self.publish(stopped, b"1", b"2")
        consumer.send(b"RDY %d\n" % ready)
        assert await self.bodies(consumer, 2) == [b"1", b"2"]

    async def test_a_reply_lets_them_out_before_it(self, stopped: DevBroker, consumer: RawClient) -> None:
        await self.publish(stopped, b"1")
        consumer.send(pub("other", b"x"))
        assert await self.bodies(consumer, 1) == [b"1"]
        assert await consumer.frame() == OK

    async def test_a_paused_channel_lets_them_out(self, stopped: DevBroker, consumer: RawClient) -> None:
        await self.publish(stopped, b"1")
        await http(stopped.http_address, "POST", "/channel/pause?topic=t&channel=c")
        assert await self.bodies(consumer, 1) == [b"1"]

    async def test_without_a_buffer_nothing_is_held(self, stopped: DevBroker) -> None:
        client = await RawClient.connect(stopped.tcp_address)
        await client.subscribe("t", "c", ready=3, output_buffer_size=-1)
        await self.publish(stopped, b"1")
        assert await self.bodies(client, 1) == [b"1"]
        await client.close()

    async def test_without_ticks_only_a_full_buffer_goes_out(self, stopped: DevBroker, clock: Clock) -> None:
        client = await RawClient.connect(stopped.tcp_address)
        await client.subscribe("t", "c", ready=9, output_buffer_timeout=-1, output_buffer_size=64)
        await self.publish(stopped, b"1")
        clock.now_s += 59  # its message does not time out yet
        stopped.wake()
        assert _held(stopped) == 35
        await self.publish(stopped, b"2")
        assert await self.bodies(client, 1) == [b"1"]
        assert _held(stopped) == 6
        await client.close()

    async def test_ticks_come_by_themselves(self, broker: DevBroker) -> None:
        client = await RawClient.connect(broker.tcp_address)
        await client.subscribe("t", "c", ready=9, output_buffer_timeout=25)
        await self.publish(broker, b"1")
        assert await self.bodies(client, 1) == [b"1"]
        await client.close()

    async def publish(self, broker: DevBroker, *bodies: bytes) -> None:
        status, _ = await http(broker.http_address, "POST", "/mpub?topic=t", b"\n".join(bodies))
        assert status == 200


def _held(broker: DevBroker) -> int:
    """Return how many bytes are held back for all clients."""
    return sum(connection.output.held_bytes for connection in broker._tcp.connections)


class TestSlowReaders:
    """A client that does not read gets no more, is not listened to, and is closed after its heartbeat."""

    BODY = b"x" * 1_000_000

    async def fill(self, broker: DevBroker, heartbeat_ms: int = 60_000) -> socket.socket:
        """Subscribe a client that reads nothing and is ready for 40 MB, and publish them."""
        host, _, port = broker.tcp_address.rpartition(":")
        slow = socket.create_connection((host, int(port)))
        wish = identify(heartbeat_interval=heartbeat_ms)
        slow.sendall(b"  V2" + wish + b"SUB t c\nRDY 40\n")
        client = await RawClient.connect(broker.tcp_address)
        for _ in range(40):
            assert await client.ask(b"PUB t\n" + sized(self.BODY)) == OK
        await client.close()
        return slow

    async def test_it_gets_no_more_than_it_reads(self, broker: DevBroker) -> None:
        with await self.fill(broker) as slow:
            channel = broker.ledger.topics["t"].channels["c"]
            assert channel.queued
            (consumer,) = channel.consumers
            assert consumer.blocked
            slow.sendall(b"RDY 0\n")
            assert consumer.ready_count == 40
            slow.setblocking(False)
            left_bytes = 40 * (len(self.BODY) + 34)
            loop = asyncio.get_running_loop()
            while left_bytes > 0:
                left_bytes -= len(await loop.sock_recv(slow, 1_000_000))
                if not consumer.ready_count:
                    break
            assert left_bytes > 0
            assert consumer.ready_count == 0

    async def test_it_is_closed_when_it_reads_nothing_for_its_heartbeat(self, broker: DevBroker) -> None:
        with await self.fill(broker, 1000):
            assert await _gone(broker)
        channel = broker.ledger.topics["t"].channels["c"]
        assert not channel.consumers
        assert channel.in_flight
