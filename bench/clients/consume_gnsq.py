"""gnsq's Consumer, on gevent, with `orjson.loads` only."""

from typing import Any

import gevent
import gevent.event
import gnsq
import orjson

from bench.clients.tally import Plan, Tally

FLUSH_S = 0.2
plan = Plan.given()
tally = Tally(plan.count)
done = gevent.event.Event()


def count(_: gnsq.Consumer, message: Any) -> None:
    """Count a message; gnsq finishes it when this returns."""
    order = orjson.loads(message.body)
    if tally.came(order["data"]["sent_ns"]) if plan.is_timed else tally.tick():
        done.set()


consumer = gnsq.Consumer(
    plan.topic, plan.channel, plan.address, message_handler=count, max_in_flight=plan.max_in_flight
)
consumer.start(block=False)
done.wait()
gevent.sleep(FLUSH_S)
consumer.close()
