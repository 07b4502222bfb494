"""One consumer of the benchmark, in a process of its own: `clients.py nsqkit|pynsq ADDRESS TOPIC COUNT`.

It prints the messages per second between the first and the last of COUNT messages.
"""

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


class Clock:
    """Counts messages, and tells the rate between the first and the last."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen = 0
        self._started_s = 0.0

    def tick(self) -> bool:
        """Count one message; True for the last one."""
        if self._seen == 0:
            self._started_s = time.perf_counter()
        self._seen += 1
        if self._seen < self._count:
            return False
        print((self._count - 1) / (time.perf_counter() - self._started_s), flush=True)
        return True


def nsqkit_client(address: str, topic: str, clock: Clock) -> None:
    """Consume with a typed handler, policies and metrics on, default settings."""
    import os  # noqa: PLC0415 - each client imports only its own library
    import signal  # noqa: PLC0415

    from handlers.orders import OrderCreated  # noqa: PLC0415
    from nsqkit import Context, Handler, Settings, Worker  # noqa: PLC0415

    class Count(Handler[OrderCreated], topic=topic, channel="bench", max_in_flight=200):
        async def handle(self, event: OrderCreated, ctx: Context) -> None:  # noqa: ARG002 - decoding is the work
            if clock.tick():
                os.kill(os.getpid(), signal.SIGTERM)

    Worker([Count], settings=Settings(nsqd=(address,), admin_port=0, log_level="error")).run()


def pynsq_client(address: str, topic: str, clock: Clock) -> None:
    """Consume with pynsq's Reader, `orjson.loads` only."""
    import orjson  # noqa: PLC0415
    from tornado.ioloop import IOLoop  # noqa: PLC0415

    import nsq  # noqa: PLC0415

    def handle(message: Any) -> bool:
        orjson.loads(message.body)
        if clock.tick():
            IOLoop.current().call_later(0.2, IOLoop.current().stop)
        return True

    nsq.Reader(  # type: ignore[attr-defined]  # the stubs have what nsqkit uses
        topic=topic, channel="bench", message_handler=handle, nsqd_tcp_addresses=[address], max_in_flight=200
    )
    IOLoop.current().start()


if __name__ == "__main__":
    name, address, topic, count = sys.argv[1:]
    {"nsqkit": nsqkit_client, "pynsq": pynsq_client}[name](address, topic, Clock(int(count)))
