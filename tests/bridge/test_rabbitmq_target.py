"""What a route writes to a real RabbitMQ: a message that is sent is confirmed, and in a queue."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import aio_pika
import pytest
import structlog

from nsqkit.bridge.access import Access
from nsqkit.bridge.address import RabbitmqAddress
from nsqkit.bridge.rabbitmq import RabbitmqTarget, connection, target
from nsqkit.bridge.record import Record
from nsqkit.errors import BridgeError, OutageError, RecordRefusedError
from tests.amqp import Client, unique
from tests.rabbitmq import MAX_MESSAGE_BYTES, PASSWORD, READER, USER, Rabbitmq
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.rabbitmq

Start = Callable[..., Awaitable[RabbitmqTarget]]
ORDER = Record(body=b"order")


@pytest.fixture
def client(rabbitmq: Rabbitmq) -> Client:
    return Client(rabbitmq)


@pytest.fixture
async def start(rabbitmq: Rabbitmq) -> AsyncIterator[Start]:
    """A function that returns an open target."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*, user: str = USER, create: bool = False, **options: Any) -> RabbitmqTarget:
            address = RabbitmqAddress(host="127.0.0.1", port=rabbitmq.port, **options)
            access = Access(username=user, password=PASSWORD)
            opened = RabbitmqTarget(address, access, create=create, log=structlog.get_logger())
            stack.push_async_callback(opened.close)
            await opened.open()
            return opened

        yield start


async def sent(sender: RabbitmqTarget, record: Record) -> bool:
    """Return whether RabbitMQ confirms a message; False during an outage."""
    try:
        await sender.send(record)
    except OutageError:
        return False
    return True


async def test_a_message_is_persistent_and_has_its_headers(start: Start, client: Client) -> None:
    queue = await client.quorum_queue()
    sender = await start(routing_key=queue)
    headers = (("cloudEvents:id", b"7"), ("raw", b"\xff"))
    await sender.send(Record(body=b"\x00body", headers=headers, content_type="application/json"))
    await sender.send(Record(body=b""))
    found = await client.get(queue)
    assert found is not None
    assert (found.body, found.content_type) == (b"\x00body", "application/json")
    assert found.headers.items() >= {"cloudEvents:id": "7", "raw": b"\xff"}.items()
    assert found.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    empty = await client.get(queue)
    assert empty is not None
    assert (empty.body, empty.content_type) == (b"", None)


async def test_many_messages_are_confirmed_at_the_same_time(start: Start, client: Client) -> None:
    queue = await client.classic_queue()
    sender = await start(routing_key=queue)
    await asyncio.gather(*(sender.send(Record(body=b"%d" % number)) for number in range(300)))
    assert await client.ready(queue) == 300


async def test_a_message_that_no_queue_takes_is_refused(start: Start, client: Client) -> None:
    exchange, queue = unique("exchange"), await client.quorum_queue()
    await start(exchange=exchange, routing_key="orders.created", create=True)
    sender = await start(exchange=exchange, routing_key="orders.created")
    with pytest.raises(
        RecordRefusedError, match=f"'{exchange}' with routing key 'orders.created' leads to no queue"
    ):
        await sender.send(ORDER)
    assert sender.problems == ()
    await client.bind(queue, exchange, "orders.*")
    await sender.send(ORDER)
    assert await client.ready(queue) == 1


async def test_a_missing_exchange_is_refused(start: Start) -> None:
    with pytest.raises(
        BridgeError, match=r"exchange 'missing' does not exist; create it, or set create = true"
    ):
        await start(exchange="missing")


async def test_a_missing_exchange_is_created_durable_and_of_type_topic(start: Start, client: Client) -> None:
    exchange = unique("exchange")
    await start(exchange=exchange, create=True)
    async with client.channel() as channel:  # RabbitMQ refuses to declare it again as anything else
        await channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=True)


async def test_an_existing_exchange_of_another_type_is_written_as_it_is(start: Start, client: Client) -> None:
    queue = await client.quorum_queue()
    await client.bind(queue, "amq.fanout", "")
    sender = await start(exchange="amq.fanout", create=True)
    await sender.send(ORDER)
    assert await client.ready(queue) == 1


async def test_the_default_exchange_needs_the_queue_of_the_routing_key(start: Start, client: Client) -> None:
    queue = unique("queue")
    with pytest.raises(BridgeError, match=f"queue '{queue}' does not exist"):
        await start(routing_key=queue)
    sender = await start(routing_key=queue, create=True)
    await sender.send(ORDER)
    assert await client.ready(queue) == 1


async def test_a_queue_that_is_full_is_an_outage(start: Start, client: Client) -> None:
    queue = await client.classic_queue({"x-max-length": 1, "x-overflow": "reject-publish"})
    sender = await start(routing_key=queue)
    await sender.send(ORDER)
    with pytest.raises(OutageError, match="nack"):
        await sender.send(ORDER)
    assert await client.get(queue)
    await until(lambda: sent(sender, ORDER))


async def test_nothing_that_was_confirmed_is_lost_when_rabbitmq_is_killed(
    start: Start, client: Client, rabbitmq: Rabbitmq
) -> None:
    queue = await client.quorum_queue()
    sender = await start(routing_key=queue)
    numbers = set(range(200))

    def send(number: int) -> Awaitable[bool]:
        return sent(sender, Record(body=b"%d" % number))

    sends = [asyncio.ensure_future(send(number)) for number in numbers]
    await until(lambda: any(each.done() for each in sends))
    rabbitmq.kill()
    confirmed = {number for number, done in zip(numbers, await asyncio.gather(*sends), strict=True) if done}
    await until(lambda: sender.problems)
    with pytest.raises(OutageError):
        await sender.send(ORDER)
    rabbitmq.start()
    await until(lambda: not sender.problems)
    await asyncio.gather(*(until(partial(send, number)) for number in numbers - confirmed))
    assert await client.numbers(queue) == numbers


async def test_a_rabbitmq_that_no_longer_answers_is_lost(
    start: Start, client: Client, rabbitmq: Rabbitmq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEARTBEAT_S", 1)
    monkeypatch.setattr(target, "CONFIRM_S", PATIENCE_S)
    queue = await client.quorum_queue()
    sender = await start(routing_key=queue)
    with rabbitmq.frozen():
        with pytest.raises(OutageError):
            await sender.send(ORDER)
        await until(lambda: sender.problems)
    await until(lambda: sent(sender, ORDER))  # with such heartbeats, a busy machine may lose it again


async def test_a_deleted_exchange_is_an_outage_until_somebody_creates_it_again(
    start: Start, client: Client
) -> None:
    exchange, queue = unique("exchange"), await client.quorum_queue()
    sender = await start(exchange=exchange, routing_key="a", create=True)
    other = await start(exchange=exchange, routing_key="a")
    async with client.channel() as channel:
        await channel.exchange_delete(exchange)
    with pytest.raises(OutageError, match="no exchange"):
        await other.send(ORDER)
    await until(lambda: other.problems, lambda lines: any("does not exist" in line for line in lines))
    with pytest.raises(OutageError, match="create = true"):
        await other.send(ORDER)
    with pytest.raises(OutageError, match="no exchange"):
        await sender.send(ORDER)  # its connection creates the exchange again
    await until(lambda: not (sender.problems or other.problems))
    await client.bind(queue, exchange, "a")
    await other.send(ORDER)


async def test_an_alarm_of_rabbitmq_is_an_outage(
    start: Start, client: Client, rabbitmq: Rabbitmq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "CONFIRM_S", 0.5)
    sender = await start(routing_key=await client.quorum_queue())

    async def problems() -> tuple[str, ...]:
        await sent(sender, ORDER)
        return sender.problems

    alarm = "{resource_limit, memory, node()}"
    rabbitmq.evaluate(f"rabbit_alarm:set_alarm({{{alarm}, []}})")
    try:
        lines = await until(problems, lambda lines: any("it blocks publishes" in line for line in lines))
        assert len(lines) == 1
        assert "has not confirmed a message for 0.5 s; it blocks publishes until its memory" in lines[0]
    finally:
        rabbitmq.evaluate(f"rabbit_alarm:clear_alarm({alarm})")
    monkeypatch.undo()
    await until(lambda: sent(sender, ORDER))
    assert sender.problems == ()


async def test_a_message_that_is_too_large_is_refused_alone(start: Start, client: Client) -> None:
    queue = await client.quorum_queue()
    sender = await start(routing_key=queue)
    with pytest.raises(RecordRefusedError, match=f"takes at most {MAX_MESSAGE_BYTES} bytes"):
        await sender.send(Record(body=bytes(MAX_MESSAGE_BYTES + 1)))
    await until(lambda: sent(sender, ORDER))  # the channel was closed, so another one is opened
    assert await client.ready(queue) == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        pytest.param(Record(body=None), "without a body", id="a tombstone"),
        pytest.param(Record(body=b"", content_type="x" * 256), "content type", id="a content type of a page"),
        pytest.param(
            Record(body=b"", headers=(("x" * 129, b""),)), "128 bytes", id="a header name of a page"
        ),
    ],
)
async def test_what_amqp_cannot_carry_is_refused(start: Start, record: Record, reason: str) -> None:
    sender = await start(exchange="amq.topic", routing_key="a")
    with pytest.raises(RecordRefusedError, match=reason):
        await sender.send(record)


class Pauses:
    """Records after how many losses in a row a connection is made again, and never waits."""

    def __init__(self, max_s: float) -> None:
        self.max_s = max_s
        self.asked: list[int] = []

    def delay_s(self, losses: int, *, draw: float) -> float:
        self.asked.append(losses)
        return 0.0


@pytest.mark.parametrize(
    ("max_s", "asked"),
    [
        pytest.param(math.inf, [1, 2, 3], id="pauses grow while connections are short"),
        pytest.param(-1.0, [1, 1, 1], id="and begin again after one that lasted"),
    ],
)
async def test_a_user_who_may_not_write_is_an_outage_that_says_so(
    start: Start, monkeypatch: pytest.MonkeyPatch, max_s: float, asked: list[int]
) -> None:
    pauses = Pauses(max_s)
    monkeypatch.setattr(connection, "_PAUSES", pauses)
    sender = await start(user=READER, exchange="amq.topic", routing_key="a")
    for wanted in (asked[:1], asked[:2], asked):
        with pytest.raises(OutageError, match="ACCESS_REFUSED"):
            await sender.send(ORDER)
        await until(lambda: pauses.asked, wanted.__eq__)
        await until(lambda: not sender.problems)
