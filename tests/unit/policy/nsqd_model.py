"""nsqd's output buffers and some consumers, in time that is only counted: what RDY does to latency.

nsqd's side is its message pump: it takes messages while fewer are in flight than RDY allows, holds them in a
buffer, and empties that when RDY is reached, when it is full, and every 25 ms. The costs are those of a real
nsqd and of this package's connection on one machine, rounded.
"""

import heapq
import itertools
import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from nsqkit.policy.flow import LoadEstimate, rdy_shares
from nsqkit.policy.lending import Lending

BUFFER_BYTES = 65536
BUFFER_S = 0.025
MESSAGE_BYTES = 250
HOP_S = 50e-6  # from one process to the other
PUMP_S = 1.5e-6  # nsqd's work for a message
TURN_S = 30e-6  # the event loop's for a chunk
CHUNK_S = 30e-6  # and each further one
WORK_S = 3e-6  # the consumer's for a message
FLOOD = 0.0


class Time:
    """What happens when."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._next = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now_s + delay_s, next(self._next), call))

    def run(self, until_s: float) -> None:
        while self._due and self._due[0][0] <= until_s:
            self.now_s, _, call = heapq.heappop(self._due)
            call()


class Channel:
    """One channel of one nsqd; its connections compete for the messages."""

    def __init__(self, time: Time) -> None:
        self.published_s: list[float] = []
        self.pumps: list[Pump] = []
        self._time = time
        self._taken = 0
        self._draw = random.Random(3)

    def publish(self) -> None:
        self.published_s.append(self._time.now_s)
        for pump in self._draw.sample(self.pumps, len(self.pumps)):
            pump.wake()

    def take(self) -> float | None:
        """Return when its next message was published."""
        if self._taken == len(self.published_s):
            return None
        self._taken += 1
        return self.published_s[self._taken - 1]


class Pump:
    """nsqd's side of one connection."""

    def __init__(self, time: Time, channel: Channel, deliver: Callable[[list[float]], None]) -> None:
        self.time = time
        self.channel = channel
        self.deliver = deliver
        self.rdy = 0
        self.in_flight = 0
        self._buffer: list[float] = []
        self._is_pumping = False
        channel.pumps.append(self)

    def take(self, answers: int, rdy: int | None) -> None:
        """Read FINs and a RDY of one write."""
        self.in_flight -= answers
        self.rdy = self.rdy if rdy is None else rdy
        self.wake()

    def tick(self) -> None:
        self._flush()
        self.time.after(BUFFER_S, self.tick)

    def wake(self) -> None:
        if not self._is_pumping:
            self._is_pumping = True
            self.time.after(PUMP_S, self._pump)

    def _pump(self) -> None:
        self._is_pumping = False
        if self.in_flight >= self.rdy:
            self._flush()
        elif (published_s := self.channel.take()) is not None:
            self._buffer.append(published_s)
            self.in_flight += 1
            if len(self._buffer) * MESSAGE_BYTES >= BUFFER_BYTES:
                self._flush()
            self.wake()

    def _flush(self) -> None:
        if self._buffer:
            messages, self._buffer = self._buffer, []
            self.time.after(HOP_S, lambda: self.deliver(messages))


@dataclass
class Line:
    """The consumer's end of a connection."""

    pump: Pump
    load: LoadEstimate = field(default_factory=LoadEstimate)
    received: int = 0
    age_s: float = 0.0
    answered: int = 0
    unsent: int = 0  # answers
    latencies_s: list[float] = field(default_factory=list)


class Consumer:
    """An event loop that reads chunks, runs handlers, and tells every nsqd its RDY.

    Args:
        time: The time.
        channels: One of each nsqd.
        max_in_flight: Shared by them.
        handler_s: For how long a handler waits; with 0 it answers at once.
        is_fixed: Whether RDY is max_in_flight, evenly.
        are_handlers: Whether each line is of another handler, and so has max_in_flight for itself.
        ahead_s: How far the consumer's clock is ahead of nsqd's.

    Attributes:
        chunks: How many chunks of messages have arrived.
        commands: How many RDY were sent.
        looks: How often a timer has fired.
    """

    def __init__(
        self,
        time: Time,
        channels: Sequence[Channel],
        *,
        max_in_flight: int,
        handler_s: float,
        is_fixed: bool = False,
        are_handlers: bool = False,
        ahead_s: float = 0.0,
    ) -> None:
        self.time = time
        self.max_in_flight = max_in_flight
        self.handler_s = handler_s
        self.is_fixed = is_fixed
        self.are_handlers = are_handlers
        self.ahead_s = ahead_s
        self.latencies_s: list[float] = []
        self.chunks = 0
        self.commands = 0
        self.totals: list[int] = []
        self.most_in_flight = 0
        self.lowest_rdy = max_in_flight
        self.looks = 0
        self._lending = Lending()
        self._inbox: list[tuple[Line, list[float]]] = []
        self._ended: list[Line] = []
        self._is_turning = False
        self._watches_s = math.inf
        self._draw = random.Random(7)
        self.lines = [Line(Pump(time, channel, lambda _: None)) for channel in channels]
        for line in self.lines:
            line.pump.deliver = lambda chunk, line=line: self._arrive(line, chunk)  # type: ignore[misc]
        self._tell(time.now_s)

    def _arrive(self, line: Line, chunk: list[float]) -> None:
        self._inbox.append((line, chunk))
        self._turn()

    def _turn(self) -> None:
        if not self._is_turning and (self._inbox or self._ended):
            self._is_turning = True
            self.time.after(TURN_S * self._draw.uniform(0.5, 1.5), self._work)

    def _work(self) -> None:
        worked_s = 0.0
        for line in self._ended:
            line.answered += 1
            line.unsent += 1
        self._ended.clear()
        inbox, self._inbox = self._inbox, []
        self.chunks += len(inbox)
        for line, chunk in inbox:
            worked_s += CHUNK_S if worked_s else 0.0
            line.age_s = self.time.now_s + worked_s + self.ahead_s - chunk[-1]
            for published_s in chunk:
                worked_s += WORK_S
                line.latencies_s.append(self.time.now_s + worked_s - published_s)
                self.latencies_s.append(line.latencies_s[-1])
                self._handle(line, worked_s)
        self.time.after(worked_s, self._turned)

    def _handle(self, line: Line, worked_s: float) -> None:
        line.received += 1
        if self.handler_s:
            self.time.after(worked_s + self.handler_s, lambda: self._end(line))
        else:
            line.answered += 1
            line.unsent += 1

    def _end(self, line: Line) -> None:
        self._ended.append(line)
        self._turn()

    def _turned(self) -> None:
        self._is_turning = False
        self._tell(self.time.now_s)
        self._turn()

    def _tell(self, now_s: float) -> None:
        before = [line.load.rdy for line in self.lines]
        for line in self.lines:
            line.load.look(line.received, line.answered, age_s=line.age_s, now_s=now_s)
        for line, rdy, was in zip(self.lines, self._shares(now_s), before, strict=True):
            is_new = rdy != was
            if is_new or line.unsent:
                self._send(line, line.unsent, rdy if is_new else None)
            self.commands += is_new
            line.load.grant(rdy, now_s=now_s)
            line.unsent = 0
            self.lowest_rdy = min(self.lowest_rdy, rdy)
        self.totals.append(sum(line.load.rdy for line in self.lines))
        self.most_in_flight = max(self.most_in_flight, sum(line.pump.in_flight for line in self.lines))
        self._watch()

    def _send(self, line: Line, answers: int, rdy: int | None) -> None:
        self.time.after(HOP_S, lambda: line.pump.take(answers, rdy))

    def _shares(self, now_s: float) -> tuple[int, ...]:
        if self.is_fixed:
            n = len(self.lines)
            return (self.max_in_flight,) * n if self.are_handlers else rdy_shares(self.max_in_flight, n)
        claims = [line.load.claim(self.max_in_flight, now_s=now_s) for line in self.lines]
        if self.are_handlers:
            return tuple(claims)
        loads = [line.load for line in self.lines]
        return self._lending.share(loads, claims, self.max_in_flight, now_s=now_s)

    def _watch(self) -> None:
        due_s = self._lending.due_s(line.load for line in self.lines)
        due_s = min([due_s, *(line.load.due_s for line in self.lines)])
        if due_s != self._watches_s and not self.is_fixed:
            self._watches_s = due_s
            if due_s < math.inf:
                self.time.after(due_s - self.time.now_s, lambda: self._fire(due_s))

    def _fire(self, due_s: float) -> None:
        if due_s != self._watches_s:
            return  # it was put off, or an earlier one was set
        self._watches_s = math.inf
        self.looks += 1
        if not self._is_turning:  # else the loop is not free, and looks when it is
            self._tell(max(due_s, self.time.now_s))


def run(
    per_s: float,
    handler_s: float,
    *,
    for_s: float,
    nsqds: int = 1,
    max_in_flight: int = 200,
    is_fixed: bool = False,
    are_handlers: bool = False,
    ahead_s: float = 0.0,
    flooded: int | None = None,
    is_spread: bool = False,
) -> Consumer:
    """Return a consumer that has run for some seconds.

    Args:
        per_s: As of :func:`compete`.
        handler_s: As of ``Consumer``.
        for_s: How long.
        nsqds: How many there are.
        max_in_flight: As of ``Consumer``.
        is_fixed: As of ``Consumer``.
        are_handlers: As of ``Consumer``.
        ahead_s: As of ``Consumer``.
        flooded: As of :func:`compete`.
        is_spread: As of :func:`compete`.
    """
    consumer = partial(
        Consumer,
        max_in_flight=max_in_flight,
        handler_s=handler_s,
        is_fixed=is_fixed,
        are_handlers=are_handlers,
        ahead_s=ahead_s,
    )
    (alone,) = compete(per_s, [consumer], for_s=for_s, nsqds=nsqds, flooded=flooded, is_spread=is_spread)
    return alone


@contextmanager
def _unmeasured() -> Iterator[None]:
    """Measure no coverage, which costs more than millions of steps do; the tables of flow cover them."""
    trace = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(trace)


@_unmeasured()
def compete(
    per_s: float,
    joining: Sequence[Callable[[Time, Sequence[Channel]], Consumer]],
    *,
    for_s: float,
    nsqds: int = 1,
    flooded: int | None = None,
    is_spread: bool = False,
) -> list[Consumer]:
    """Return consumers of the same channels that have run for some seconds, each on a machine of its own.

    Args:
        per_s: Messages that are published each second at random moments, all on the first nsqd;
            ``FLOOD`` for more than can be handled, evenly.
        joining: What makes each.
        for_s: How long.
        nsqds: How many there are.
        flooded: On how many nsqd there is a backlog that does not end, in addition to what is published.
            All of them by default if *per_s* is ``FLOOD``, else none.
        is_spread: Whether messages are published on any nsqd without such a backlog.
    """
    time, draw = Time(), random.Random(5)
    channels = [Channel(time) for _ in range(nsqds)]
    consumers = [join(time, channels) for join in joining]
    if flooded is None:
        flooded = nsqds if per_s == FLOOD else 0
    for channel in channels:
        for pump in channel.pumps:
            time.after(draw.uniform(0.0, BUFFER_S), pump.tick)
    for channel in channels[:flooded]:
        channel.published_s = [0.0] * int(len(consumers) * for_s / WORK_S)
    due_s = draw.expovariate(per_s) if per_s else for_s
    while due_s < for_s:
        time.after(due_s, (draw.choice(channels[flooded:]) if is_spread else channels[0]).publish)
        due_s += draw.expovariate(per_s)
    time.run(for_s + 10 * BUFFER_S if per_s else for_s)
    return consumers
