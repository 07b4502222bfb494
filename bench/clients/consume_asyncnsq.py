"""asyncnsq's Reader, with `orjson.loads` only; version 1.2.1 on Python 3.11 and 2.0.1 on newer ones."""

import asyncio

import asyncnsq
import orjson

from bench.clients.tally import Plan, Tally


async def main() -> None:
    """Carry out the plan."""
    plan = Plan.given()
    tally = Tally(plan.count)
    reader = await asyncnsq.create_reader(nsqd_tcp_addresses=[plan.address], max_in_flight=plan.max_in_flight)
    await reader.subscribe(plan.topic, plan.channel)
    async for message in reader.messages():
        order = orjson.loads(message.body)
        is_last = tally.came(order["data"]["sent_ns"]) if plan.is_timed else tally.tick()
        await message.fin()
        if is_last:
            break
    reader.close()


asyncio.run(main())
