"""How a handler's max_in_flight is shared among its connections, as RDY counts that follow the load.

nsqd holds messages in an output buffer, and empties it at once when as many are in flight as RDY allows. So
RDY decides latency: one more than is held brings each message at once, more lets nsqd join several.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

_BATCHING_S = 0.002
"""So long a message may wait for others to share its way; the latency that one pays for throughput."""
_BATCHING_AGE_RATIO = 0.25
"""Or for this part of what it has waited before: a backlog shows that throughput is wanted."""
_MOST_BATCHING_S = 0.05
"""But no longer; nsqd's buffer by itself holds it for 25 ms."""
_MEMORY_S = 0.005
"""Time constant of the rate's exponentially weighted mean."""
_MEMORY_RATIO = 0.5
"""But no less than this part of that waiting, so that a long turn of the event loop forgets nothing."""
_QUIET_RATIO = 2.0
"""After so many of them without a message, RDY falls so that nsqd sends what it holds."""
_SLACK_RATIO = 0.6
"""RDY stays as it is while its room is not below this share of what is wanted, nor as much above."""


@dataclass(slots=True)
class LoadEstimate:
    """The estimated load of one connection, and the RDY that follows from it.

    Attributes:
        rdy: The RDY that was sent to nsqd last.
        busy: Messages that arrived and are not answered yet.
    """

    rdy: int = 0
    busy: int = 0
    _received: int = field(default=0, init=False)
    _rate_per_s: float = field(default=0.0, init=False)
    _arrived_s: float = field(default=-math.inf, init=False)
    _batching_s: float = field(default=_BATCHING_S, init=False)
    _memory_s: float = field(default=_MEMORY_S, init=False)

    def look(self, received: int, answered: int, *, age_s: float, now_s: float) -> None:
        """Take in what has happened since the last look.

        Args:
            received: Deliveries since the connection began.
            answered: How many of them were finished or requeued.
            age_s: How long ago the last of them was published; 0 if that says nothing, as of one that
                was delivered before.
            now_s: A clock that does not go back.
        """
        if arrived := received - self._received:
            self._batching_s = min(max(_BATCHING_S, age_s * _BATCHING_AGE_RATIO), _MOST_BATCHING_S)
            self._memory_s = max(_MEMORY_S, self._batching_s * _MEMORY_RATIO)
            self._rate_per_s = self._faded_per_s(now_s) + arrived / self._memory_s
            self._arrived_s = now_s
            self._received = received
        self.busy = received - answered

    def claim(self, most: int, *, now_s: float) -> int:
        """Return the RDY that this load wants, in 1..most: in flight, one more, and what comes meanwhile.

        It stays at the last RDY where the difference is not worth a command.

        Args:
            most: The highest, 1 or more.
            now_s: As in :meth:`look`.

        Source:
            Little's law: rate times waiting time are on their way.
        """
        room = 1
        if now_s < self.due_s:
            room += int(self._faded_per_s(now_s) * self._batching_s)
        if room * _SLACK_RATIO <= self.rdy - self.busy <= room / _SLACK_RATIO:
            return min(self.rdy, most)
        return min(self.busy + room, most)

    @property
    def is_ahead(self) -> bool:
        """Whether nsqd may send more than one message, and so hold some until they are as many."""
        return self.rdy > self.busy + 1

    @property
    def due_s(self) -> float:
        """When RDY has to be looked at again though nothing happens: nsqd may hold messages until then."""
        return self._arrived_s + self._batching_s * _QUIET_RATIO

    def _faded_per_s(self, now_s: float) -> float:
        return self._rate_per_s * math.exp((self._arrived_s - now_s) / self._memory_s)


def fair_shares(claims: Sequence[int], held: Sequence[int], budget: int) -> tuple[int, ...]:
    """Return what each claim gets of a budget: all of it, or what the others leave, evenly.

    Who holds more than its share gets no more, and the others no part of what it still holds.

    Args:
        claims: 1 or more each.
        held: As many: what is in flight there.
        budget: At least as much as there are claims.

    Returns:
        As many RDY counts, in their order: 1 or more each, none above its claim, and *budget* at most
        in sum.
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


def rdy_shares(budget: int, connections: int, *, trickles: int = 0, turn: int = 0) -> tuple[int, ...]:
    """Return one RDY count per connection.

    Args:
        budget: Messages that may be in flight over the connections; 0 or more.
        connections: How many there are; 0 or more.
        trickles: How many of them, the last ones, have little to bring, as `.retry` topics do: unless
            the budget is 0 they get 1 each on top of it, so that an idle one costs nothing.
        turn: Which connection gets the first of what cannot be shared evenly. Raising it by
            one moves that on by one, so that a budget smaller than the number of connections
            reaches every connection in turn.

    Returns:
        A tuple of length *connections*. All but the trickles have the sum *budget*, and no two of
        them differ by more than one.

    Raises:
        ValueError: If *budget* or *connections* is negative, or *trickles* not in 0..connections.
    """
    if budget < 0 or not 0 <= trickles <= connections:
        raise ValueError(f"budget={budget!r} connections={connections!r} trickles={trickles!r}")
    sharing = connections - trickles
    share, remainder = divmod(budget, max(sharing, 1))
    shares = (share + ((index - turn) % sharing < remainder) for index in range(sharing))
    return (*shares, *(min(budget, 1),) * trickles)
