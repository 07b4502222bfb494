"""A bare asyncio protocol: reads whole chunks, decodes the type, and writes the FINs of a chunk at once.

It has no features of a framework, not even retries: it shows the limit of asyncio.
"""

import asyncio
import struct
from typing import Any, cast

import msgspec

from bench.clients.events import TimedOrder
from bench.clients.tally import Plan, Tally
from handlers.orders import OrderCreated

_HEADER = struct.Struct(">ii")
_ID_AT = _HEADER.size + 10  # after timestamp and attempts
_BODY_AT = _ID_AT + 16
_RESPONSE, _MESSAGE = 0, 2
_IDENTIFY = b'{"output_buffer_size":65536,"output_buffer_timeout":25,"feature_negotiation":true}'


class Envelope(msgspec.Struct):
    """An order's CloudEvent, decoded in one pass."""

    specversion: str
    type: str
    source: str
    id: str
    data: OrderCreated


class TimedEnvelope(Envelope):
    """A CloudEvent whose order has the time of sending."""

    data: TimedOrder


def decoded(plan: Plan) -> type[Any]:
    """Return the type of the plan's bodies."""
    if plan.is_bare:
        return OrderCreated
    return TimedEnvelope if plan.is_timed else Envelope


class Bare(asyncio.Protocol):
    """One subscription.

    Args:
        plan: Plan of the run.
        done: Completed after the last message.
    """

    def __init__(self, plan: Plan, done: "asyncio.Future[None]") -> None:
        self._plan = plan
        self._done = done
        self._tally = Tally(plan.count)
        self._rest = b""
        self._decode = msgspec.json.Decoder(decoded(plan)).decode

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send all commands at once; nsqd answers in order."""
        plan = self._plan
        self._transport = cast("asyncio.Transport", transport)
        commands = f"SUB {plan.topic} {plan.channel}\nRDY {plan.max_in_flight}\n".encode()
        identify = b"IDENTIFY\n" + struct.pack(">i", len(_IDENTIFY)) + _IDENTIFY
        self._transport.write(b"  V2" + identify + commands)

    def data_received(self, data: bytes) -> None:
        """Process a chunk: decode every complete message, and finish them in one write."""
        data = self._rest + data
        answers = []
        start, end = 0, len(data)
        while end - start >= _HEADER.size:
            size, kind = _HEADER.unpack_from(data, start)
            after = start + 4 + size
            if after > end:
                break
            if kind == _MESSAGE:
                event = self._decode(data[start + _BODY_AT : after])
                answers.append(b"FIN " + data[start + _ID_AT : start + _BODY_AT] + b"\n")
                if self._tally.came(event.data.sent_ns) if self._plan.is_timed else self._tally.tick():
                    self._done.set_result(None)
            elif kind == _RESPONSE and data[start + _HEADER.size : after] == b"_heartbeat_":
                answers.append(b"NOP\n")
            elif kind != _RESPONSE:
                self._done.set_exception(RuntimeError(data[start:after]))
            start = after
        self._rest = data[start:]
        if answers:
            self._transport.write(b"".join(answers))


async def main() -> None:
    """Carry out the plan."""
    plan = Plan.given()
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    transport, _ = await loop.create_connection(lambda: Bare(plan, done), *plan.host_and_port)
    await done
    transport.close()  # once all is written
    await asyncio.sleep(0.1)


asyncio.run(main())
