"""What a Python client's program is told to do and tells back; it knows no client.

The argument is a plan as JSON (``tests/clients/scenarios.py`` says what is in it). Every delivery is
printed as one line of JSON; ``since_ms`` counts from just before the program's last PUB, DPUB or REQ.
"""

import asyncio
import inspect
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

Call = Callable[..., Awaitable[object] | object]


class Play:
    """One plan and how far it is carried out.

    Attributes:
        address: ``host:port`` of the broker's TCP port.
        topic: Where to publish, and to subscribe.
        channel: The channel to subscribe.
        msg_timeout_ms: What to ask for in IDENTIFY, where the client can.
        publish: Bodies; a PUB or DPUB for each tuple of one, a MPUB for one of more.
        defer_ms: Above 0 the publishes are DPUBs.
    """

    def __init__(self) -> None:
        plan: dict[str, Any] = json.loads(sys.argv[1])
        self.address: str = plan["address"]
        self.topic: str = plan["topic"]
        self.channel: str = plan["channel"]
        self.msg_timeout_ms: int = plan["msg_timeout_ms"]
        self.publish: list[list[bytes]] = [[body.encode() for body in bodies] for bodies in plan["publish"]]
        self.defer_ms: int = plan["defer_ms"]
        self._reactions: list[list[Any]] = plan["reactions"]
        self._to_finish: int = plan["finishes"]
        self._said_s = time.monotonic()

    @property
    def host_and_port(self) -> tuple[str, int]:
        """The address in two parts."""
        host, _, port = self.address.rpartition(":")
        return host, int(port)

    def says(self) -> None:
        """Note that a command goes out now whose effect may not come early."""
        self._said_s = time.monotonic()

    def sees(self, body: bytes, attempts: int) -> list[Any]:
        """Print a delivery and return the reaction to it."""
        since_ms = (time.monotonic() - self._said_s) * 1000
        seen = {"body": bytes(body).decode(), "attempts": attempts, "since_ms": since_ms}
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()
        return self._reactions[min(attempts, len(self._reactions)) - 1]

    def finishes(self) -> bool:
        """Count a FIN and return whether it is the last."""
        self._to_finish -= 1
        return self._to_finish == 0

    async def answer(self, body: bytes, attempts: int, *, finish: Call, requeue: Call, touch: Call) -> bool:
        """React to a delivery, on asyncio, and return whether all is done."""
        match self.sees(body, attempts):
            case ["requeue", delay_ms]:
                self.says()
                await _done(requeue(delay_ms))
                return False
            case ["keep"]:
                return False
            case ["touch", every_ms, times]:
                for _ in range(times):
                    await asyncio.sleep(every_ms / 1000)  # the handler's work between two TOUCH
                    await _done(touch())
                await asyncio.sleep(every_ms / 1000)  # the rest of its work
        await _done(finish())
        return self.finishes()


async def _done(result: Awaitable[object] | object) -> None:
    if inspect.isawaitable(result):
        await result
