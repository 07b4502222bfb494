"""pynsq's Reader, with `orjson.loads` only."""

import asyncio
from typing import Any

import orjson
from tornado.ioloop import IOLoop

import nsq
from bench.clients.tally import Plan, Tally

FLUSH_S = 0.2
plan = Plan.given()
tally = Tally(plan.count)


def end() -> None:
    """Stop after the last FIN is written."""
    IOLoop.current().call_later(FLUSH_S + plan.hold_ms / 1000, IOLoop.current().stop)


def count(message: Any) -> bool:
    """Count a message."""
    orjson.loads(message.body)
    if tally.tick():
        end()
    return True


def time(message: Any) -> bool:
    """Record the latency of a message."""
    if tally.came(orjson.loads(message.body)["data"]["sent_ns"]):
        end()
    return True


async def hold(message: Any) -> bool:
    """Record the latency of a message, then sleep as the plan requires."""
    if tally.came(orjson.loads(message.body)["data"]["sent_ns"]):
        end()
    await asyncio.sleep(plan.hold_ms / 1000)
    return True


timed = hold if plan.hold_ms else time
nsq.Reader(  # type: ignore[attr-defined]  # the stubs have what nsqkit uses
    topic=plan.topic,
    channel=plan.channel,
    message_handler=timed if plan.is_timed else count,
    nsqd_tcp_addresses=[plan.address],
    max_in_flight=plan.max_in_flight,
)
IOLoop.current().start()
