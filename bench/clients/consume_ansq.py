"""ansq's Reader, with `orjson.loads` only."""

import asyncio

import ansq
import orjson

from bench.clients.tally import Plan, Tally


async def main() -> None:
    """Carry out the plan."""
    plan = Plan.given()
    tally = Tally(plan.count)
    reader = await ansq.create_reader(plan.topic, plan.channel, nsqd_tcp_addresses=[plan.address])
    for connection in reader.connections:  # the reader sets RDY 1, and has no option for it
        await connection.rdy(plan.max_in_flight)
    async for message in reader.messages():
        order = orjson.loads(message.body)
        is_last = tally.came(order["data"]["sent_ns"]) if plan.is_timed else tally.tick()
        await message.fin()
        if is_last:
            break
    await reader.close()


asyncio.run(main())
