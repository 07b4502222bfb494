"""What a route reads of a real RabbitMQ: nothing is lost, and nothing is acknowledged too early."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import structlog

from nsqkit.bridge.access import Access
from nsqkit.bridge.address import RabbitmqAddress
from nsqkit.bridge.rabbitmq import RabbitmqSource
from nsqkit.bridge.record import Record
from nsqkit.errors import BridgeError, OutageError
from tests.amqp import Client, unique
from tests.ports import free_port
from tests.rabbitmq import PASSWORD, USER, VHOST, Rabbitmq
from tests.waiting import until

pytestmark = pytest.mark.rabbitmq

Start = Callable[..., Awaitable[RabbitmqSource]]
ACCESS = Access(username=USER, password=PASSWORD)


@pytest.fixture
def client(rabbitmq: Rabbitmq) -> Client:
    return Client(rabbitmq)


@pytest.fixture
async def start(rabbitmq: Rabbitmq) -> AsyncIterator[Start]:
    """A function that returns an open source of a queue."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(queue: str, *, create: bool = False, **options: Any) -> RabbitmqSource:
            address = RabbitmqAddress(host="127.0.0.1", port=rabbitmq.port, queue=queue, **options)
            source = RabbitmqSource(address, ACCESS, create=create, log=structlog.get_logger())
            stack.push_async_callback(source.close)
            await source.open()
            return source

        yield start


async def read(source: RabbitmqSource, count: int) -> list[Record]:
    """Read until there are so many messages."""
    records: list[Record] = []
    while len(records) < count:
        records.extend(await source.read())
    return records


def bodies(records: list[Record]) -> list[bytes | None]:
    return [record.body for record in records]


async def test_a_message_has_its_body_headers_and_place(start: Start, client: Client) -> None:
    queue = await client.quorum_queue()
    table = {
        "cloudEvents:id": "7",
        "cloudEvents_type": "order.created",
        "attempt": 3,
        "raw": bytearray(b"\xff"),
    }
    await client.publish(queue, b"\x00body", headers=table, content_type="application/json")
    await client.publish(queue, b"")
    first, second = await read(await start(queue), 2)
    assert first.body == b"\x00body"
    assert dict(first.headers) == {
        "cloudEvents:id": b"7",
        "cloudEvents_type": b"order.created",
        "attempt": b"3",
        "raw": b"\xff",
    }
    assert (first.content_type, first.origin, first.is_redelivered) == ("application/json", queue, False)
    assert (second.body, second.headers, second.content_type) == (b"", (), "")
    assert second.position == first.position + 1


async def test_only_confirmed_messages_are_acknowledged(start: Start, client: Client) -> None:
    queue = await client.quorum_queue()
    await client.publish(queue, b"1", b"2", b"3")
    source = await start(queue)
    first, _, third = await read(source, 3)
    await source.confirm([first, third])
    await source.close()
    (again,) = await read(await start(queue), 1)
    assert (again.body, again.is_redelivered) == (b"2", True)


async def test_a_tag_of_a_lost_connection_is_never_acknowledged_on_the_next_one(
    start: Start, client: Client, rabbitmq: Rabbitmq
) -> None:
    queue = await client.quorum_queue()
    await client.publish(queue, b"1")
    source = await start(queue)
    records = await read(source, 1)
    rabbitmq.close_connections()
    (again,) = await read(source, 1)
    assert (again.body, again.is_redelivered) == (b"1", True)
    await source.confirm(records)  # the tag 1 of the old connection; the new one has a tag 1 as well
    await source.close()
    (third,) = await read(await start(queue), 1)
    assert third.body == b"1"


async def test_nothing_is_lost_when_rabbitmq_is_killed(
    start: Start, client: Client, rabbitmq: Rabbitmq
) -> None:
    queue = await client.quorum_queue()
    await client.publish(queue, *(b"%d" % number for number in range(20)))
    source = await start(queue, prefetch=7)
    records = await read(source, 3)
    await source.confirm(records)
    seen = {record.body for record in records}
    rabbitmq.kill()
    await until(lambda: source.problems)
    assert await source.lag() is None
    rabbitmq.start()
    while len(seen) < 20:
        records = list(await source.read())
        await source.confirm(records)
        seen |= {record.body for record in records}
    assert source.problems == ()
    await until(source.lag, lambda lag: lag == 0)


async def test_a_message_that_cannot_be_decoded_stops_the_route(
    start: Start, client: Client, rabbitmq: Rabbitmq
) -> None:
    queue = await client.quorum_queue()
    source = await start(queue)
    year_33658 = "[{timestamp, 1000000000000000}]"
    default_exchange = 'rabbit_misc:r(<<"/">>, exchange, <<>>)'
    rabbitmq.evaluate(f'rabbit_basic:publish({default_exchange}, <<"{queue}">>, {year_33658}, <<"body">>)')
    with pytest.raises(BridgeError, match=r"cannot decode a message; remove it from the queue: .*year 33658"):
        await source.read()
    assert source.problems


async def test_a_missing_queue_is_refused(start: Start) -> None:
    with pytest.raises(BridgeError, match=r"queue 'missing' does not exist; create it, or set create = true"):
        await start("missing")


async def test_a_missing_queue_is_created_as_a_quorum_queue(start: Start, client: Client) -> None:
    queue = unique("created")
    source = await start(queue, create=True)
    await client.quorum_queue(queue)  # RabbitMQ refuses to declare it again as anything else
    await client.publish(queue, b"1")
    assert bodies(await read(source, 1)) == [b"1"]


async def test_an_existing_classic_queue_is_read_as_it_is(start: Start, client: Client) -> None:
    queue = await client.classic_queue()
    await client.publish(queue, b"1")
    assert bodies(await read(await start(queue, create=True), 1)) == [b"1"]


async def test_a_queue_that_is_deleted_stops_the_route(start: Start, client: Client) -> None:
    queue = await client.quorum_queue()
    source = await start(queue)
    await client.delete_queue(queue)
    with pytest.raises(BridgeError, match=f"queue '{queue}' does not exist"):
        await source.read()
    await client.quorum_queue(queue)
    await client.publish(queue, b"1")
    await until(lambda: not source.problems)
    assert bodies(await read(source, 1)) == [b"1"]


async def test_the_lag_of_a_rabbitmq_that_does_not_answer_is_unknown(
    start: Start, client: Client, rabbitmq: Rabbitmq, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await start(await client.quorum_queue())
    monkeypatch.setattr("nsqkit.bridge.rabbitmq.source._LAG_S", 0.1)
    with rabbitmq.frozen():
        assert await source.lag() is None
    monkeypatch.undo()
    await until(source.lag, lambda lag: lag == 0)


async def test_at_most_the_prefetch_is_unacknowledged(start: Start, client: Client) -> None:
    queue = await client.quorum_queue()
    await client.publish(queue, *(b"%d" % number for number in range(10)))
    source = await start(queue, prefetch=4)
    records = await read(source, 4)
    await until(source.lag, lambda lag: lag == 6)
    await source.confirm(records)
    assert bodies(await read(source, 4)) == [b"4", b"5", b"6", b"7"]
    await until(source.lag, lambda lag: lag == 2)


async def test_a_pause_gives_back_what_was_not_read_and_stays_connected(start: Start, client: Client) -> None:
    queue = await client.quorum_queue()
    source = await start(queue, prefetch=2)
    await client.publish(queue, b"1")
    records = await read(source, 1)
    await client.publish(queue, b"2", b"3")
    await until(source.lag, lambda lag: lag == 1)
    source.pause()
    source.pause()
    waiting = asyncio.ensure_future(source.read())
    await until(source.lag, lambda lag: lag == 2)
    await source.confirm(records)  # a batch in flight is finished during a pause
    await until(lambda: client.consumers(queue), lambda count: count == 0)
    assert source.problems == ()
    assert not waiting.done()
    source.resume()
    source.resume()
    returned = list(await waiting)
    returned += await read(source, 2 - len(returned))
    assert sorted(bodies(returned), key=str) == [b"2", b"3"]


async def test_a_pause_outlives_a_lost_connection(start: Start, client: Client, rabbitmq: Rabbitmq) -> None:
    queue = await client.quorum_queue()
    source = await start(queue)
    source.pause()
    rabbitmq.close_connections()
    await client.publish(queue, b"1")
    await until(source.lag, lambda lag: lag == 1)
    await until(lambda: client.consumers(queue), lambda count: count == 0)
    source.resume()
    assert bodies(await read(source, 1)) == [b"1"]


async def test_a_virtual_host_may_have_a_slash_in_its_name(rabbitmq: Rabbitmq, start: Start) -> None:
    source = await start(unique("hosted"), create=True, vhost=VHOST)
    assert await source.lag() == 0


async def test_a_rabbitmq_that_is_away_is_an_outage() -> None:
    port = free_port()
    address = RabbitmqAddress(host="127.0.0.1", port=port, queue="orders")
    source = RabbitmqSource(address, ACCESS, create=False, log=structlog.get_logger())
    with pytest.raises(OutageError, match=f"RabbitMQ 127.0.0.1:{port}: .* Connection refused"):
        await source.open()
    assert await source.lag() is None
    await source.close()
