"""Publishes timed orders at a steady rate over a plain socket, without waiting for replies or batching."""

import json
import socket
import struct
import sys
import time

from bench.clients.tally import Plan

_OK = struct.pack(">ii", 6, 0) + b"OK"
_IDENTIFY = b'{"heartbeat_interval":-1}'
_PATIENCE_S = 10.0


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


def main() -> None:
    """Carry out the plan: each message has a due time, and contains the real time of sending."""
    plan = Plan.given()
    left = templates(plan.bodies())
    pub = f"PUB {plan.topic}\n".encode()
    with connected(plan) as link:
        begin_s = time.perf_counter()
        for number, head in enumerate(left):
            due_s = begin_s + number / plan.rate
            time.sleep(max(0.0, due_s - time.perf_counter()))
            body = b"%b%d}}" % (head, time.time_ns())
            link.sendall(b"".join((pub, struct.pack(">i", len(body)), body)))
        replies = bytearray()
        while len(replies) < len(_OK) * plan.count and (more := link.recv(65536)):
            replies += more
        if replies != _OK * plan.count:
            sys.exit(f"publish_steadily: nsqd answered {bytes(replies[:200])!r}")
    sys.stdout.write(json.dumps({"published": plan.count}) + "\n")


if __name__ == "__main__":
    main()
