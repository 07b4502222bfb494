"""Lending: shares a max_in_flight that is too small for all connections; idle ones lend their part, in turns.

It has no clock, and counts no message itself.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from operator import attrgetter
from typing import NamedTuple

from nsqkit.policy.flow import LoadEstimate, fair_shares

_PROBE_S = 0.005
"""Shortest turn, in seconds; nsqd sends a waiting message in less than a millisecond."""
_LONGEST_TURN_S = 0.05
"""Longest turn while nothing arrives, in seconds: one of three connections waits for 0.1 s at most."""
_SILENCE_RATIO = 0.5
"""Within these limits a turn lasts this part of the time since a message last arrived or was answered."""
_KEPT = 10
"""Idle connections lend nothing if all of them together hold at most one in this many of the messages."""
_PROBED = 20
"""While busy connections need everything, probes cost them one in this many of the messages."""

_TURN = attrgetter("turn")


class _Phase(Enum):
    TURNS = "idle connections take turns on what the busy ones leave"
    LENT = "the busy connections have everything"
    PROBE = "some idle connections have one more each"


class _Demand(NamedTuple):
    """What a budget that is too small has to be shared among.

    Attributes:
        idle: The idle connections.
        busy: The others, with their claims.
        budget: Messages that may be in flight in total.
        left: Those of them that idle connections do not hold.
        spare: Those of them that the others do not claim either.
    """

    idle: Sequence[LoadEstimate]
    busy: Mapping[LoadEstimate, int]
    budget: int
    left: int
    spare: int

    @property
    def is_kept(self) -> bool:
        """Whether the idle connections are too few to lend."""
        return len(self.idle) <= self.budget // _KEPT

    @property
    def probes(self) -> int:
        """How many idle connections are probed at a time."""
        return max(1, self.budget // _KEPT)


class Lending:
    """Who may have messages in flight now: the state that the connections of one handler share.

    A connection that has room for a message and brings none is idle (:class:`LoadEstimate`). Idle connections
    lend their part to the busy ones where there is too little for all. They take turns on what is left, or on
    a small part if nothing is. Busy connections take turns if there are more of them than messages.

    Messages in flight and those that RDY still allows are never more than the budget in total. A message that
    nsqd sent before it read a lower RDY comes in addition.

    Attributes:
        is_scarce: Whether the claims were above the budget.
        is_lending: Whether connections take turns or may have to.
        is_waiting: Whether a connection has less than its part until messages in flight are answered.
    """

    def __init__(self) -> None:
        self.is_scarce = self.is_lending = self.is_waiting = False
        self._phase = _Phase.TURNS
        self._ends_s = math.inf  # the turn
        self._since_s = -math.inf
        self._turns = 0

    def restart(self, *, now_s: float) -> None:
        """Begin with short turns, as after an arrival."""
        self._since_s = now_s

    def stop(self) -> None:
        """Take no turns until the next call: RDY depends on something else."""
        self._phase, self._ends_s = _Phase.TURNS, math.inf
        self.is_scarce = self.is_lending = self.is_waiting = False

    def due_s(self, loads: Iterable[LoadEstimate]) -> float:
        """Return when to share again if nothing happens before, in seconds; infinite for never."""
        if not self.is_lending:
            return math.inf
        return min([self._ends_s, *[load.idle_s for load in loads if not load.is_idle]])

    def pass_turn(self, loads: Sequence[LoadEstimate], *, now_s: float) -> bool:
        """Pass a turn that is over to the next connection, and return whether nothing else may be due.

        An idle worker does this 20 times a second, so it costs less than :meth:`share`.
        """
        if now_s < self._ends_s or any(load.busy or not load.is_idle for load in loads):
            return False
        waiting = [load for load in loads if not load.rdy]
        if not waiting or len(waiting) == len(loads):
            return False
        min([load for load in loads if load.rdy], key=_TURN).grant(0, now_s=now_s)
        self._begin_turn(min(waiting, key=_TURN), 1, now_s)
        self._ends_s = now_s + self._idle_turn_s(loads, now_s)
        return True

    def share(
        self, loads: Sequence[LoadEstimate], claims: Sequence[int], budget: int, *, now_s: float
    ) -> tuple[int, ...]:
        """Share a budget, and set the RDY of each load to its part.

        Args:
            loads: Load of each connection; :meth:`LoadEstimate.look` was called just now.
            claims: RDY that each connection asks for, in the same order; 1 or more each.
            budget: Messages that may be in flight in total; 1 or more.
            now_s: Current time of a monotonic clock, in seconds.

        Returns:
            One RDY count per connection, order kept.
        """
        claimed = dict(zip(loads, claims, strict=True))
        is_scarce = sum(claims) > budget
        if not is_scarce or len(loads) - 1 <= budget // _KEPT:
            self.stop()
            for load, rdy in _fair_parts(claimed, budget).items():
                load.grant(rdy, now_s=now_s)
        else:
            self._lend(_demand(claimed, budget, now_s), now_s)
        self.is_scarce = is_scarce
        return tuple([load.rdy for load in loads])

    def share_one(self, loads: Sequence[LoadEstimate], *, now_s: float) -> tuple[int, ...]:
        """Share one message in addition to those in flight, whatever the load: it is each one's in turn.

        Args:
            loads: As of :meth:`share`.
            now_s: As of :meth:`share`.

        Returns:
            As of :meth:`share`.
        """
        for load in loads:
            load.is_idle = True
        budget = sum([load.busy for load in loads]) + 1
        self._lend(_Demand(loads, {}, budget, left=1, spare=1), now_s)
        return tuple([load.rdy for load in loads])

    def _lend(self, demand: _Demand, now_s: float) -> None:
        self.is_lending = True
        idle, busy = demand.idle, demand.busy
        is_next = self._enter(demand, now_s)
        probes = self._probes(demand)
        places = max(0, demand.left - probes)
        parts = {load: load.busy + 1 for load in _takers(idle, probes, is_next=is_next)}
        if places < len(busy):
            parts |= dict.fromkeys(_takers(busy, places, is_next=is_next), 1)
        elif busy:
            parts |= _fair_parts(busy, places)
        is_given = self._give((*idle, *busy), parts, demand.budget, now_s)
        if self._phase is _Phase.LENT:
            is_turning = probes < len(idle) or (places < len(busy) and any(load.rdy for load in busy))
        else:
            is_one_waiting = self._phase is _Phase.PROBE or probes < len(idle)
            is_turning = is_one_waiting and any(load.rdy > load.busy for load in idle)
        if not is_turning:
            self._ends_s = math.inf
        elif is_next or is_given or self._ends_s == math.inf:
            self._ends_s = now_s + self._turn_s(demand, now_s)

    def _enter(self, demand: _Demand, now_s: float) -> bool:
        """Enter the next phase, and return whether a turn is over."""
        before, is_over = self._phase, now_s >= self._ends_s
        if demand.spare or not demand.busy:
            self._phase = _Phase.TURNS
        elif demand.is_kept or before is _Phase.TURNS:
            self._phase = _Phase.LENT
        elif is_over:
            self._phase = _Phase.LENT if before is _Phase.PROBE else _Phase.PROBE
        if self._phase is not before:
            self._ends_s = math.inf
        return is_over or (self._phase is _Phase.TURNS and before is not _Phase.TURNS)

    def _probes(self, demand: _Demand) -> int:
        """Return how many idle connections may bring a message now."""
        if self._phase is _Phase.TURNS:
            return min(len(demand.idle), demand.spare)
        if self._phase is _Phase.PROBE:
            return demand.probes
        return len(demand.idle) if demand.is_kept else 0

    def _turn_s(self, demand: _Demand, now_s: float) -> float:
        if self._phase is _Phase.TURNS:
            return self._idle_turn_s((*demand.idle, *demand.busy), now_s)
        if self._phase is _Phase.PROBE:
            return _PROBE_S
        return _PROBE_S * max(1.0, demand.probes * _PROBED / demand.budget - 1.0)

    def _idle_turn_s(self, loads: Sequence[LoadEstimate], now_s: float) -> float:
        silence_s = now_s - max(self._since_s, *[load.changed_s for load in loads])
        return min(max(_PROBE_S, silence_s * _SILENCE_RATIO), _LONGEST_TURN_S)

    def _give(
        self, loads: Sequence[LoadEstimate], parts: Mapping[LoadEstimate, int], budget: int, now_s: float
    ) -> bool:
        """Set every RDY, and return whether that begins the turn of an idle connection.

        What connections hold above their parts is not given to others before it is answered; then the first
        in the order of *parts* gets it.
        """
        free = max(0, budget - sum([load.busy for load in loads]))
        self.is_waiting = is_given = False
        for load in loads:
            if load not in parts:
                load.grant(0, now_s=now_s)
        for load, part in parts.items():
            rdy = min(part, load.busy + free)
            free -= max(0, rdy - load.busy)
            self.is_waiting |= rdy < part
            is_first = self._begin_turn(load, rdy, now_s)
            is_given |= is_first and load.is_idle and self._phase is not _Phase.LENT
        return is_given

    def _begin_turn(self, load: LoadEstimate, rdy: int, now_s: float) -> bool:
        if rdy and not load.rdy:
            self._turns += 1
            load.turn = self._turns
        return load.grant(rdy, now_s=now_s)


def _demand(claims: Mapping[LoadEstimate, int], budget: int, now_s: float) -> _Demand:
    idle, busy, left = [], {}, budget
    for load, claim in claims.items():
        load.look_idle(now_s=now_s)
        if load.is_idle:
            idle.append(load)
            left -= load.busy
        else:
            busy[load] = claim
    left = max(0, left)
    return _Demand(idle, busy, budget, left, max(0, left - sum(busy.values())))


def _fair_parts(claims: Mapping[LoadEstimate, int], budget: int) -> dict[LoadEstimate, int]:
    shares = fair_shares([*claims.values()], [load.busy for load in claims], budget)
    return dict(zip(claims, shares, strict=True))


def _takers(loads: Iterable[LoadEstimate], places: int, *, is_next: bool) -> list[LoadEstimate]:
    """Return the connections whose turn it is: those that have it, then those that had it longest ago.

    The turn of a connection without room ends first, since no message can be on its way there.

    Args:
        loads: Connections that take turns.
        places: How many may have a turn at a time.
        is_next: Whether the turn that began first is over.
    """
    by_turn = sorted(loads, key=_TURN)
    waiting = [load for load in by_turn if not load.rdy]
    having = [load for load in by_turn if 0 < load.rdy <= load.busy]
    having += [load for load in by_turn if load.rdy > load.busy]
    if is_next and waiting:
        waiting += having[:1]
        del having[:1]
    return (having[::-1] + waiting)[:places]
