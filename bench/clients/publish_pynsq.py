"""pynsq's Writer: a window of concurrent publishes, each confirmed by a callback; or batches."""

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any

import nsq
from bench.clients.tally import Plan, Tally

Send = Callable[..., None]


class Chain:
    """Publishes the next message when one is confirmed, until all are confirmed.

    Args:
        left: Functions that send one message each; they take the callback.
        done: Completed after the last confirmation.
    """

    def __init__(self, left: list[Send], done: "asyncio.Future[None]") -> None:
        self._left = iter(left)
        self._under_way = len(left)
        self._done = done

    def next(self) -> None:
        """Send the next message, if there is one."""
        for send in islice(self._left, 1):
            send(callback=self._confirmed)

    def _confirmed(self, _: Any, reply: Any) -> None:
        if reply != b"OK":
            self._done.set_exception(RuntimeError(repr(reply)))
            return
        self._under_way -= 1
        if self._under_way == 0:
            self._done.set_result(None)
        self.next()


async def publish(sends: list[Send], window: int) -> None:
    """Send all messages, at most *window* at a time, and wait until all are confirmed."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    chain = Chain(sends, done)
    for _ in range(window):
        chain.next()
    await done


def sender(send: Callable[..., Any], topic: str, what: bytes | list[bytes]) -> Send:
    """Return a function that sends one body or one batch."""

    def one(callback: Callable[[Any, Any], None]) -> None:
        send(topic, what, callback=callback)

    return one


async def main() -> None:
    """Carry out the plan."""
    plan = Plan.given()
    tally = Tally(plan.count)
    writer: Any = nsq.Writer([plan.address])  # type: ignore[attr-defined]  # the stubs have what nsqkit uses
    while not writer.conns:  # noqa: ASYNC110 - a Writer does not signal that it is connected
        await asyncio.sleep(0.01)
    await publish([sender(writer.pub, plan.topic, b"connected")], 1)
    bodies = plan.bodies()
    if plan.variant == "many":
        starts = range(0, len(bodies), plan.batch)
        sends = [sender(writer.mpub, plan.topic, bodies[start : start + plan.batch]) for start in starts]
    else:
        sends = [sender(writer.pub, plan.topic, body) for body in bodies]
    tally.start()
    await publish(sends, 1 if plan.variant == "many" else plan.window)
    tally.report()


asyncio.run(main())
