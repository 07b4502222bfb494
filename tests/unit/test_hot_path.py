"""How many function calls one message costs a worker, from the chunk in its socket to the FIN in its socket.

Time is noise on a shared machine; the number of calls is not. Python's own functions count as those of C
do, each with 1: a figure to hold, not a model of time.
"""

import asyncio
import gc
import itertools
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType

import pytest

from handlers.orders import OrderCreated
from nsqkit import Context, Handler, Settings, Worker
from tests.unit.nsq.fake_nsqd import IDENTIFY_REPLY, frame, message_frame
from tests.waiting import PATIENCE_S

MOST_CALLS = {"async": 18, "plain": 18}
"""Calls per message that an async handler, and a plain one with run_on_loop, may cost.

Lower it when the path gets shorter. Raising it takes a decision record in docs/adr.
"""

MOST_CALLS_FOR_THREADS = 48
"""Calls of the event loop's thread per message of a plain handler in threads; the same rules hold."""

TOPIC, CHANNEL = "hot", "path"
IN_FLIGHT = 100  # their frames fit into the socket, and so into one chunk
ROUNDS = 10
SETTLING_TURNS = 20  # of the event loop, until the last FIN is in the socket
ORDER = (Path(__file__).parents[2] / "examples" / "data" / "orders.jsonl").read_bytes().partition(b"\n")[0]


class Nsqd:
    """A thread plays nsqd until two topics are subscribed; after that it does what the test says, at once."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._topics: dict[bytes, socket.socket] = {}
        self._ids = itertools.count()
        self._thread = threading.Thread(target=self._subscribe_all)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._thread.join(PATIENCE_S)
        for each in (self._listener, *self._topics.values()):
            each.close()

    def deliver(self, count: int) -> None:
        """Put messages into the worker's socket; all are there when this returns."""
        ids = (b"%016d" % next(self._ids) for _ in range(count))
        frames = [message_frame(each, ORDER, timestamp_ns=time.time_ns()) for each in ids]
        self._topics[TOPIC.encode()].sendall(b"".join(frames))

    def finished(self) -> int:
        """Return how many messages the worker has finished since the last call."""
        peer = self._topics[TOPIC.encode()]
        peer.setblocking(False)
        try:
            return peer.recv(1 << 20).count(b"FIN ")
        except BlockingIOError:
            return 0
        finally:
            peer.settimeout(PATIENCE_S)

    def _subscribe_all(self) -> None:
        while len(self._topics) < 2:
            peer, _ = self._listener.accept()
            peer.settimeout(PATIENCE_S)
            assert taken(peer, 4) == b"  V2"
            assert line(peer) == b"IDENTIFY"
            taken(peer, *struct.unpack(">i", taken(peer, 4)))
            peer.sendall(frame(0, json.dumps(IDENTIFY_REPLY).encode()))
            command, topic, _ = line(peer).split()
            assert command == b"SUB"
            self._topics[topic] = peer
            peer.sendall(frame(0, b"OK"))


def taken(peer: socket.socket, count: int) -> bytes:
    return peer.recv(count, socket.MSG_WAITALL)


def line(peer: socket.socket) -> bytes:
    return b"".join(iter(lambda: peer.recv(1), b"\n"))


class Gate:
    """Opens when so many messages were handled."""

    def __init__(self) -> None:
        self._left = 0
        self._opened: asyncio.Future[None] | None = None

    def count(self, messages: int) -> "asyncio.Future[None]":
        self._opened = asyncio.get_running_loop().create_future()
        self._left = messages + 1
        self.handled()
        return self._opened

    def handled(self) -> None:
        self._left -= 1
        if not self._left and self._opened is not None:
            self._opened.set_result(None)


def handler(kind: str, gate: Gate) -> type[Handler[OrderCreated]]:
    """Return a handler that does nothing but count."""
    if kind == "plain":

        class Plain(
            Handler[OrderCreated],
            topic=TOPIC,
            channel=CHANNEL,
            max_in_flight=IN_FLIGHT,
            run_on_loop=True,
        ):
            def handle(self, event: OrderCreated, ctx: Context) -> None:
                gate.handled()

        return Plain

    class Async(Handler[OrderCreated], topic=TOPIC, channel=CHANNEL, max_in_flight=IN_FLIGHT):
        async def handle(self, event: OrderCreated, ctx: Context) -> None:
            gate.handled()

    return Async


class InThread(Handler[OrderCreated], topic=TOPIC, channel=CHANNEL, max_in_flight=IN_FLIGHT, threads=1):
    """A handler that does nothing in its thread."""

    def handle(self, event: OrderCreated, ctx: Context) -> None:
        pass


@asynccontextmanager
async def running(handler: type[Handler[OrderCreated]]) -> AsyncIterator[tuple[Nsqd, Worker]]:
    """Run a worker with default settings on an nsqd that the test plays."""
    nsqd = Nsqd()
    worker = Worker([handler], settings=Settings(nsqd=(nsqd.address,), admin_port=0, grace_s=0))
    await worker.start()
    try:
        await asyncio.wait_for(worker.wait_ready(), PATIENCE_S)
        yield nsqd, worker
    finally:
        nsqd.close()
        await worker.stop()


@contextmanager
def counting() -> Iterator[list[int]]:
    """Count the calls of this thread; nothing else may make any, neither the collector nor a timer."""
    calls = [0]
    loop = asyncio.get_running_loop()
    clock, now_s = loop.time, loop.time()

    def frozen_s() -> float:
        clock()  # as many calls as ever
        return now_s

    def on_event(_frame: FrameType, kind: str, _argument: object) -> None:
        calls[0] += kind in {"call", "c_call"}

    loop.time = frozen_s  # type: ignore[method-assign]
    gc.disable()
    sys.setprofile(on_event)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        gc.enable()
        loop.time = clock  # type: ignore[method-assign]


async def calls_of(messages: int, nsqd: Nsqd, gate: Gate) -> int:
    """Return how many calls the worker makes while so many messages come."""
    nsqd.deliver(messages)
    with counting() as calls:
        await gate.count(messages)
        for _ in range(SETTLING_TURNS):
            await asyncio.sleep(0)  # no helper: its calls would count too
    assert nsqd.finished() == messages
    return calls[0]


@pytest.mark.parametrize("kind", MOST_CALLS)
async def test_a_message_costs_no_more_calls_than_it_may(kind: str) -> None:
    """Of several rounds the one with the fewest calls counts: what comes on top is not the message's."""
    gate = Gate()
    async with running(handler(kind, gate)) as (nsqd, _):
        await calls_of(IN_FLIGHT, nsqd, gate)  # what is made once is made now
        idle = [await calls_of(0, nsqd, gate) for _ in range(ROUNDS)]
        busy = [await calls_of(IN_FLIGHT, nsqd, gate) for _ in range(ROUNDS)]
    per_message = (min(busy) - min(idle)) / IN_FLIGHT
    assert per_message <= MOST_CALLS[kind], f"{per_message:.2f} calls per message"


async def calls_for_threads(messages: int, nsqd: Nsqd, worker: Worker) -> int:
    """Return how many calls the event loop's thread makes while so many messages come, but for idle turns."""
    (subscription,) = worker._subscriptions
    held = subscription.intake._held
    nsqd.deliver(messages)
    with counting() as calls:
        for _ in range(SETTLING_TURNS):
            await asyncio.sleep(0)  # a turn of the loop has no event
        before = calls[0]
        await asyncio.sleep(0)  # a turn of the loop has no event
        turn = calls[0] - before
        turns = 0
        while held.count:  # no property: its calls would count too
            await asyncio.sleep(0)  # a turn of the loop has no event
            turns += 1
        for _ in range(SETTLING_TURNS):
            await asyncio.sleep(0)  # a turn of the loop has no event
    assert nsqd.finished() == messages
    return calls[0] - turns * turn


async def test_a_message_in_a_thread_costs_the_event_loop_no_more_calls_than_it_may() -> None:
    """Of several rounds the one counts whose calls were reported in the fewest groups."""
    async with running(InThread) as (nsqd, worker):
        for _ in range(ROUNDS):
            await calls_for_threads(IN_FLIGHT, nsqd, worker)  # until as many wait as may be in flight
        idle = [await calls_for_threads(0, nsqd, worker) for _ in range(ROUNDS)]
        busy = [await calls_for_threads(IN_FLIGHT, nsqd, worker) for _ in range(ROUNDS)]
    per_message = (min(busy) - min(idle)) / IN_FLIGHT
    assert per_message <= MOST_CALLS_FOR_THREADS, f"{per_message:.2f} calls per message"
