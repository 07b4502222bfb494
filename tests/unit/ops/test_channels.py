"""Channels: they are made before the first message, and a topic that nobody reads is named."""

import asyncio
import json

from nsqkit.devbroker import DevBroker
from nsqkit.nsq import ConnectionOptions
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.ops.channels import make_channels, unread_problem
from tests.unit.reading import topics_of


async def test_channels_are_made_in_order_and_only_once(broker: DevBroker) -> None:
    publishers = PublisherPool(ConnectionOptions())
    for _ in range(2):
        await make_channels([("orders", "one"), ("orders", "two")], publishers, broker.tcp_address)
    await publishers.publish(broker.tcp_address, "orders", json.dumps({}).encode())
    stats = await asyncio.to_thread(topics_of, broker.http_address)
    assert [each["depth"] for each in stats["orders"]["channels"]] == [1, 1]
    await publishers.close()


def test_a_topic_that_no_handler_reads_is_told_with_the_closest() -> None:
    subscriptions = [("parcels", "ship"), ("parcels.ship.retry", "ship")]
    assert unread_problem("parcels", subscriptions) is None
    assert unread_problem("parcels.ship.retry", subscriptions) is None
    told = unread_problem("parcel", subscriptions)
    assert told == "no handler here reads topic 'parcel'; did you mean 'parcels'?"
