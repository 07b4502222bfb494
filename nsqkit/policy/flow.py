"""Flow control: share a handler's max_in_flight among its connections, as RDY counts that follow the load.

nsqd collects messages in an output buffer, and flushes it at once when RDY messages are in flight. So RDY
decides latency: one above the number in flight brings each message at once; more lets nsqd batch several.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

_BATCHING_S = 0.0025
"""Seconds that a message may wait to be batched with others: the price in latency for throughput."""
_BATCHING_AGE_RATIO = 0.25
"""The wait may grow to this share of the message's age: a backlog needs throughput."""
_MOST_BATCHING_S = 0.05
"""Upper limit of that wait, in seconds; nsqd's own output buffer adds up to 25 ms."""
_FAST_S = 0.002
"""A handler is fast if it answers all its messages within this time, in seconds."""
_MEMORY_S = 0.01
"""Time constant of the exponentially weighted arrival rate, in seconds."""
_LEAST_MEMORY_S = 0.002
"""It is shorter for late messages, down to this: a backlog needs a high RDY soon, also in a busy loop."""
_LEAST_WEIGHT = 0.6
"""How much a chunk after a silence counts: as one that arrived within half of the time constant."""
_QUIET_S = 0.007
"""After this time without a message RDY drops, so that nsqd flushes its buffer, in seconds."""
_QUIET_RATIO = 2.0
"""Late messages may be this many waits apart."""
_LEAST_ROOM_RATIO = 0.75
_MOST_ROOM_RATIO = 4 / 3
"""RDY does not change while its free room is between these shares of the wanted room."""
_IDLE_S = 0.005
"""A connection that has room for a message and brings none for this long is idle, in seconds."""


@dataclass(slots=True, eq=False)
class LoadEstimate:
    """The estimated load of one connection, and the RDY that follows from it.

    Attributes:
        rdy: The RDY last sent to nsqd.
        busy: Messages in flight: delivered and not answered yet.
        received: Deliveries since the connection was opened.
        is_idle: Whether the connection last had room for a message and brought none; see :meth:`look_idle`.
        turn: Number of its last turn; see ``Lending``.
        changed_s: When a message last arrived or was answered; minus infinity before the first.
    """

    rdy: int = 0
    busy: int = 0
    received: int = 0
    is_idle: bool = False
    turn: int = 0
    changed_s: float = -math.inf
    _roomy_s: float = field(default=-math.inf, init=False)
    _arrived_s: float = field(default=-math.inf, init=False)
    _rate_per_s: float = field(default=0.0, init=False)
    _batching_s: float = field(default=_BATCHING_S, init=False)
    _is_fast: bool = field(default=False, init=False)

    def look(self, received: int, answered: int, *, age_s: float, now_s: float) -> None:
        """Update the estimate with the connection's counters.

        Args:
            received: Deliveries since the connection was opened.
            answered: Those of them that were finished or requeued.
            age_s: Age of the last delivery, in seconds since it was published; 0 for a redelivery, whose age
                says nothing about a backlog.
            now_s: Current time of a monotonic clock, in seconds.
        """
        if arrived := received - self.received:
            self._batching_s = min(max(_BATCHING_S, age_s * _BATCHING_AGE_RATIO), _MOST_BATCHING_S)
            self._count(arrived, now_s)
            self._arrived_s = now_s
            self.received = received
            self.is_idle = False
        if arrived or self.busy >= self.rdy:
            self._roomy_s = now_s
        busy = received - answered
        if arrived or self.busy != busy:
            self.changed_s = now_s
        if now_s < self._arrived_s + _FAST_S:
            self._is_fast |= not busy
        elif self.busy:
            self._is_fast = False
        self.busy = busy

    def grant(self, rdy: int, *, now_s: float) -> bool:
        """Set RDY, and return whether that makes room where there was none."""
        is_first = self.rdy <= self.busy < rdy
        if is_first:
            self._roomy_s = now_s
        self.rdy = rdy
        return is_first

    def look_idle(self, *, now_s: float) -> None:
        """Find out whether the connection is idle: it has had room for a while and brought nothing.

        Without room the last finding stays, until a message arrives.
        """
        if self.rdy > self.busy and now_s >= self._roomy_s + _IDLE_S:
            self.is_idle = True

    @property
    def idle_s(self) -> float:
        """When the connection is idle if nothing arrives, in seconds; infinite while it has no room."""
        return self._roomy_s + _IDLE_S if self.rdy > self.busy else math.inf

    def claim(self, most: int, *, now_s: float) -> int:
        """Return the RDY that this load needs: messages in flight, one more, and those expected meanwhile.

        Messages of a fast handler do not count: their answers make room soon enough. The last RDY is kept
        where the difference is not worth a command.

        Args:
            most: Upper limit of the result, 1 or more.
            now_s: Current time of a monotonic clock, in seconds.

        Returns:
            A RDY count in 1..most.

        Source:
            Little's law: messages on their way = arrival rate × waiting time.
        """
        busy = 0 if self._is_fast else self.busy
        if now_s >= self.quiet_s:
            return min(busy + 1, most)
        wanted = 1.0 + self._rate_per_s * self._batching_s
        room = int(wanted)
        if wanted * _LEAST_ROOM_RATIO <= self.rdy - busy <= room * _MOST_ROOM_RATIO:
            return min(self.rdy, most)
        return min(busy + room, most)

    @property
    def quiet_s(self) -> float:
        """When RDY drops if nothing arrives before, in seconds: nsqd may buffer messages until then."""
        return self._arrived_s + max(_QUIET_S, self._batching_s * _QUIET_RATIO)

    @property
    def due_s(self) -> float:
        """When to look and claim again if nothing happens before, in seconds; infinite for never."""
        if self._is_fast and self.busy:
            return self._arrived_s + _FAST_S
        return self.quiet_s if self.rdy > self.busy + 1 else math.inf

    def _count(self, arrived: int, now_s: float) -> None:
        """Update the rate; on average the messages arrived halfway since the last chunk."""
        memory_s = max(_MEMORY_S * _BATCHING_S / self._batching_s, _LEAST_MEMORY_S)
        fade = math.exp((self._arrived_s - now_s) / memory_s)
        self._rate_per_s = self._rate_per_s * fade + arrived / memory_s * max(math.sqrt(fade), _LEAST_WEIGHT)


def fair_shares(claims: Sequence[int], held: Sequence[int], budget: int) -> tuple[int, ...]:
    """Share a budget among claims: small claims in full, the others evenly from the remainder.

    A connection with more messages in flight than its share gets no more, and its surplus reduces the shares
    of the others.

    Args:
        claims: RDY that each connection asks for; 1 or more each.
        held: Messages in flight on each connection, in the same order.
        budget: Messages that may be in flight in total; at least the number of claims.

    Returns:
        One RDY count per claim, order kept: 1 or more, never above the claim, in total at most *budget*.
    """
    shares = _even(claims, budget)
    holds = [has > share for has, share in zip(held, shares, strict=True)]
    if not any(holds):
        return tuple(shares)
    free = budget - sum(itertools.compress(held, holds))
    others = [claim for claim, is_over in zip(claims, holds, strict=True) if not is_over]
    rest = iter(_even(others, max(free, len(others))))
    return tuple(share if is_over else next(rest) for share, is_over in zip(shares, holds, strict=True))


def _even(claims: Sequence[int], budget: int) -> list[int]:
    level = left = budget
    for served, claim in enumerate(sorted(claims)):
        level = left // (len(claims) - served)
        if claim > level:
            break
        left -= claim
    rest = iter(range(budget - sum(min(claim, level) for claim in claims)))
    return [level + (next(rest, None) is not None) if claim > level else claim for claim in claims]


def rdy_shares(budget: int, connections: int) -> tuple[int, ...]:
    """Return one RDY count per connection, whatever their loads.

    Args:
        budget: Messages that may be in flight in total; 0 or more.
        connections: Number of connections; 0 or more.

    Returns:
        A tuple of length *connections*. The counts add up to *budget*, and no two differ by more than one.

    Raises:
        ValueError: If *budget* or *connections* is negative.
    """
    if budget < 0 or connections < 0:
        raise ValueError(f"budget={budget!r} connections={connections!r}")
    share, remainder = divmod(budget, max(connections, 1))
    return tuple(share + (index < remainder) for index in range(connections))
