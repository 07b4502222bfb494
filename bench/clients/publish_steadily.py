"""Publishes timed orders at steady rates over a plain socket, and measures the CPU time of their consumer.

It neither batches nor waits for a reply before the next publish.
"""

import itertools
import json
import socket
import struct
import sys
import time

from bench.clients.cpu import cpu_s
from bench.clients.tally import Plan

_OK = struct.pack(">ii", 6, 0) + b"OK"
_IDENTIFY = b'{"heartbeat_interval":-1}'
_PATIENCE_S = 10.0
_BETWEEN_LOADS_S = 0.3  # longer than nsqd keeps a message in a client's buffer by default, 250 ms


def templates(bodies: list[bytes]) -> list[bytes]:
    """Return orders as JSON that is complete except for the time and two brackets."""
    return [template(json.loads(body)) for body in bodies]


def template(order: dict[str, object]) -> bytes:
    """Return an order as JSON up to the time of sending."""
    data = order["data"]
    if not isinstance(data, dict):
        raise TypeError(data)
    timed = order | {"type": "bench.order.v1", "data": data | {"sent_ns": 0}}
    return json.dumps(timed, separators=(",", ":")).encode().removesuffix(b"0}}")


def connected(plan: Plan) -> socket.socket:
    """Open a connection to nsqd without heartbeats."""
    link = socket.create_connection(plan.host_and_port, timeout=_PATIENCE_S)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(b"  V2IDENTIFY\n" + struct.pack(">i", len(_IDENTIFY)) + _IDENTIFY)
    if link.recv(4096) != _OK:
        sys.exit("publish_steadily: nsqd did not accept IDENTIFY")
    return link


class Publisher:
    """Publishes timed orders over a connection.

    Args:
        link: Connection to nsqd.
        topic: Topic to publish to.
        orders: Orders without the time of sending; published again and again, in order.
    """

    def __init__(self, link: socket.socket, topic: str, orders: list[bytes]) -> None:
        self._link = link
        self._pub = f"PUB {topic}\n".encode()
        self._orders = itertools.cycle(orders)

    def publish(self, rate: float, count: int) -> None:
        """Publish *count* orders, *rate* per second; each contains the time at which it was really sent."""
        begin_s = time.perf_counter()
        for number in range(count):
            due_s = begin_s + number / rate
            time.sleep(max(0.0, due_s - time.perf_counter()))
            body = b"%b%d}}" % (next(self._orders), time.time_ns())
            self._link.sendall(b"".join((self._pub, struct.pack(">i", len(body)), body)))
        self._confirm(count)

    def _confirm(self, count: int) -> None:
        replies = bytearray()
        while len(replies) < len(_OK) * count and (more := self._link.recv(65536)):
            replies += more
        if replies != _OK * count:
            sys.exit(f"publish_steadily: nsqd answered {bytes(replies[:200])!r}")


def main() -> None:
    """Carry out the plan, and print the CPU seconds that the consumer used during each measurement."""
    plan = Plan.given()
    used_s = []
    with connected(plan) as link:
        publisher = Publisher(link, plan.topic, templates(plan.bodies()))
        for rate, warm_up, measured in plan.loads:
            publisher.publish(rate, warm_up)
            before_s = cpu_s(plan.pid)
            publisher.publish(rate, measured)
            used_s.append(cpu_s(plan.pid) - before_s)
            time.sleep(_BETWEEN_LOADS_S)
    sys.stdout.write(json.dumps({"cpu_s": used_s}) + "\n")


if __name__ == "__main__":
    main()
