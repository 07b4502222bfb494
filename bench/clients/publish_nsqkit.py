"""nsqkit's Publisher: a window of concurrent confirmed publishes, or batches of events."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice

import msgspec

from bench.clients.tally import Plan, Tally
from handlers.orders import OrderCreated
from nsqkit import Publisher, Settings


class Envelope(msgspec.Struct):
    """The envelope of an order in the file."""

    data: OrderCreated


def events(bodies: Iterable[bytes]) -> list[OrderCreated]:
    """Decode the orders in bodies."""
    decode = msgspec.json.Decoder(Envelope).decode
    return [decode(body).data for body in bodies]


async def each(publish: Callable[[], Iterator[Awaitable[None]]], window: int) -> None:
    """Await all publishes, at most *window* at a time."""
    under_way = publish()

    async def one_after_another() -> None:
        for awaited in under_way:
            await awaited

    await asyncio.gather(*(one_after_another() for _ in range(window)))


async def raw(publisher: Publisher, plan: Plan, tally: Tally) -> None:
    """Publish bodies as they are."""
    bodies = plan.bodies()
    tally.start()
    await each(lambda: (publisher.publish_raw(plan.topic, body) for body in bodies), plan.window)


async def typed(publisher: Publisher, plan: Plan, tally: Tally) -> None:
    """Publish events, each in its envelope."""
    found = events(plan.bodies())
    tally.start()
    await each(lambda: (publisher.publish(event, topic=plan.topic) for event in found), plan.window)


async def many(publisher: Publisher, plan: Plan, tally: Tally) -> None:
    """Publish events in batches, one batch after another."""
    left = iter(events(plan.bodies()))
    tally.start()
    while batch := list(islice(left, plan.batch)):
        await publisher.publish_many(batch, topic=plan.topic)


async def soon(publisher: Publisher, plan: Plan, tally: Tally) -> None:
    """Publish a window of events at a time, which nsqkit sends in batches."""
    left = iter(events(plan.bodies()))
    tally.start()
    while window := list(islice(left, plan.window)):
        await asyncio.gather(*(publisher.publish_soon(event, topic=plan.topic) for event in window))


VARIANTS = {"raw": raw, "typed": typed, "many": many, "soon": soon}


async def main() -> None:
    """Carry out the plan."""
    plan = Plan.given()
    tally = Tally(plan.count)
    async with Publisher(settings=Settings(nsqd=(plan.address,))) as publisher:
        await publisher.publish_raw(plan.topic, b"connected")
        await VARIANTS[plan.variant](publisher, plan, tally)
        tally.report()


asyncio.run(main())
