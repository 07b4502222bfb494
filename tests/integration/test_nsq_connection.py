"""One connection to a real nsqd."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq import Connection, ConnectionOptions, Message, NsqdHttp, NsqdPublisher
from nsqkit.nsq.message import one_by_one
from tests.integration.conftest import Server
from tests.unit.nsq.fake_http import FakeHttp
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.nsqd
OPTIONS = ConnectionOptions()


class Reader:
    """A subscription to ``orders``/``stock``, and what came over it."""

    def __init__(self, address: str, options: ConnectionOptions = OPTIONS) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.failures: asyncio.Queue[str] = asyncio.Queue()
        self.connection = Connection(
            address,
            options,
            on_messages=one_by_one(self.messages.put_nowait),
            on_settle_failure=self.failures.put_nowait,
        )

    async def start(self, ready: int = 2500) -> None:
        await self.connection.open()
        await self.connection.subscribe("orders", "stock")
        self.connection.ready(ready)

    async def next(self) -> Message:
        async with asyncio.timeout(PATIENCE_S):
            return await self.messages.get()


@pytest.fixture
async def reader(nsqd: Server) -> AsyncIterator[Reader]:
    reader = Reader(nsqd.tcp_address)
    yield reader
    reader.connection.close()


@pytest.fixture
async def publisher(nsqd: Server) -> AsyncIterator[NsqdPublisher]:
    publisher = NsqdPublisher(nsqd.tcp_address, OPTIONS)
    yield publisher
    await publisher.close()


async def _channel(nsqd: Server, holds: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
    """Return the channel's statistics once they say what they must."""

    async def ask() -> dict[str, Any]:
        stats: Any = await NsqdHttp(nsqd.http_address).stats("orders")
        channel: dict[str, Any] = stats["topics"][0]["channels"][0]
        return channel

    return await until(ask, holds)


async def test_nsqd_grants_its_limits(nsqd: Server) -> None:
    connection = Connection(nsqd.tcp_address, ConnectionOptions(msg_timeout_s=2.5))
    limits = await connection.open()
    connection.close()
    assert limits.version
    assert (limits.max_rdy_count, limits.msg_timeout_s, limits.max_msg_timeout_s) == (2500, 2.5, 900.0)


async def test_answers_written_just_before_half_close_all_reach_nsqd(
    nsqd: Server, publisher: NsqdPublisher, reader: Reader
) -> None:
    await reader.start()
    await publisher.publish_many("orders", [b"%d" % n for n in range(2000)])
    messages = [await reader.next() for _ in range(2000)]
    assert all(message.finish() for message in messages)
    await reader.connection.half_close(PATIENCE_S)
    assert isinstance(reader.connection.error, ConnectionLostError)  # nsqd closed, not the time limit
    channel = await _channel(nsqd)
    assert channel["depth"] == channel["in_flight_count"] == channel["requeue_count"] == 0
    assert channel["message_count"] == 2000


async def test_answers_written_just_before_close_reach_nsqd(
    nsqd: Server, publisher: NsqdPublisher, reader: Reader
) -> None:
    await reader.start()
    await publisher.publish_many("orders", [b"%d" % n for n in range(200)])
    messages = [await reader.next() for _ in range(200)]
    assert all(message.finish() for message in messages)
    reader.connection.close()
    await _channel(nsqd, lambda channel: channel["in_flight_count"] == channel["client_count"] == 0)


async def test_after_close_wait_messages_can_still_be_answered(
    nsqd: Server, publisher: NsqdPublisher, reader: Reader
) -> None:
    await reader.start()
    await publisher.publish_many("orders", [b"1", b"2", b"3"])
    first, second, third = [await reader.next() for _ in range(3)]
    await reader.connection.close_wait()
    assert third.touch()
    assert first.finish()
    assert second.requeue(0)
    await reader.connection.half_close(PATIENCE_S)
    channel = await _channel(nsqd)
    assert (channel["in_flight_count"], channel["depth"], channel["requeue_count"]) == (1, 1, 1)
    assert reader.failures.empty()


async def test_a_requeued_message_comes_again_not_early_and_with_one_more_attempt(
    publisher: NsqdPublisher, reader: Reader
) -> None:
    """Nsqd looks at a new channel's timers only after up to 5 s, so that all delays share one test."""
    await reader.start()
    await publisher.publish_many("orders", [b"0.0", b"0.0015", b"0.15"])
    first = [await reader.next() for _ in range(3)]
    for message in first:
        message.requeue(float(message.body))
    again = {message.id: message for message in [await reader.next() for _ in range(3)]}
    for message in first:
        second = again[message.id]
        assert (message.attempts, second.attempts) == (1, 2)
        assert second.received_s - message.received_s >= float(message.body)
        assert second.finish()


async def test_a_body_as_long_as_nsqd_allows_arrives_whole(publisher: NsqdPublisher, reader: Reader) -> None:
    await reader.start()
    bodies = [bytes([n]) * size for n, size in enumerate((1, 1_048_576, 65_536, 300_000))]
    for body in bodies:
        await publisher.publish("orders", body)
    assert sorted([(await reader.next()).body for _ in bodies]) == sorted(bodies)


async def test_an_answer_after_the_lease_is_reported_and_the_connection_lives(
    nsqd: Server, publisher: NsqdPublisher
) -> None:
    reader = Reader(nsqd.tcp_address, ConnectionOptions(msg_timeout_s=1.0))
    await reader.start(ready=1)
    await publisher.publish("orders", b"body")
    late = await reader.next()
    again = await reader.next()
    assert (late.lease_s, again.attempts) == (1.0, 2)
    assert again.finish()
    assert late.finish()
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.failures.get() == "FIN"
    assert not reader.connection.closed()
    reader.connection.close()


async def test_the_http_port_is_recognized(nsqd: Server) -> None:
    with pytest.raises(ConnectionLostError, match="HTTP port"):
        await Connection(nsqd.http_address, OPTIONS).open()


async def test_a_value_that_nsqd_does_not_take_is_a_refusal(nsqd: Server) -> None:
    with pytest.raises(RefusedError, match="E_BAD_BODY"):
        await Connection(nsqd.tcp_address, ConnectionOptions(msg_timeout_s=5000.0)).open()


class TestAuth:
    AUTHORIZATIONS = (
        200,
        {
            "ttl": 3600,
            "identity": "worker",
            "identity_url": "",
            "authorizations": [
                {"topic": "^orders$", "channels": [".*"], "permissions": ["subscribe", "publish"]},
            ],
        },
    )

    async def test_the_secret_opens_what_it_may(self, start_nsqd: Callable[..., Server]) -> None:
        async with FakeHttp(self.AUTHORIZATIONS) as judge:
            nsqd = start_nsqd(f"-auth-http-address={judge.address}")
            options = ConnectionOptions(auth_secret="hush")
            reader = Reader(nsqd.tcp_address, options)
            await reader.start()
            publisher = NsqdPublisher(nsqd.tcp_address, options)
            await publisher.publish("orders", b"body")
            assert (await reader.next()).finish()
            await publisher.close()
            reader.connection.close()
            assert "secret=hush" in judge.requests[0]
            with pytest.raises(RefusedError, match="E_UNAUTHORIZED"):
                await _subscribe_elsewhere(nsqd, options)

    async def test_a_wrong_secret_is_a_refusal_and_is_not_shown(
        self, start_nsqd: Callable[..., Server]
    ) -> None:
        async with FakeHttp((403, {"message": "NOT_AUTHORIZED"})) as judge:
            nsqd = start_nsqd(f"-auth-http-address={judge.address}")
            connection = Connection(nsqd.tcp_address, ConnectionOptions(auth_secret="wrong-one"))
            with pytest.raises(RefusedError, match="E_AUTH_FAILED") as caught:
                await connection.open()
            assert not caught.value.permanent, "nsqd answers the same while its auth server is away"
            assert connection.closed()
            assert "wrong-one" not in str(caught.value)

    async def test_a_secret_that_allows_nothing_is_a_refusal(self, start_nsqd: Callable[..., Server]) -> None:
        async with FakeHttp((200, {"ttl": 3600, "identity": "nobody", "authorizations": []})) as judge:
            nsqd = start_nsqd(f"-auth-http-address={judge.address}")
            with pytest.raises(RefusedError, match="E_UNAUTHORIZED"):
                await Connection(nsqd.tcp_address, ConnectionOptions(auth_secret="hush")).open()

    async def test_without_a_secret_nothing_is_tried(self, start_nsqd: Callable[..., Server]) -> None:
        async with FakeHttp(self.AUTHORIZATIONS) as judge:
            nsqd = start_nsqd(f"-auth-http-address={judge.address}")
            with pytest.raises(RefusedError, match="E_AUTH_FIRST"):
                await Connection(nsqd.tcp_address, OPTIONS).open()
            assert judge.requests == []


async def _subscribe_elsewhere(nsqd: Server, options: ConnectionOptions) -> None:
    connection = Connection(nsqd.tcp_address, options)
    await connection.open()
    await connection.subscribe("payments", "stock")
