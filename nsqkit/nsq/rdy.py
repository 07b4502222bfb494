"""RDY control: sets the RDY of all connections of one handler. It opens and closes none of them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial

from nsqkit.nsq.connection import Connection
from nsqkit.policy.flow import LoadEstimate, fair_shares, rdy_shares

_TURN_S = 5.0
_IDLE_TURN_S = 0.5


class _Mode(Enum):
    OPEN = "as the load has it"
    PAUSED = "nothing more"
    TRIAL = "one more each"
    STOPPED = "no RDY any more"


class _ConnectionRdy:
    """One connection with its load estimate and the RDY that the load needs."""

    __slots__ = ("claim", "connection", "is_sharing", "last", "load")

    def __init__(self, connection: Connection, *, is_sharing: bool) -> None:
        self.connection = connection
        self.is_sharing = is_sharing
        self.load = LoadEstimate()
        self.claim = 0
        self.last = connection.received + 1  # the delivery that ends a trial

    def look(self, most: int, now_s: float) -> bool:
        """Update the claim, and return whether it has changed."""
        connection, before = self.connection, self.claim
        self.load.look(connection.received, connection.answered, age_s=connection.age_s, now_s=now_s)
        self.claim = self.load.claim(min(most, connection.limits.max_rdy_count), now_s=now_s)
        return self.claim != before

    def send(self, rdy: int) -> None:
        self.load.rdy = rdy
        self.connection.ready(rdy)

    def send_trial(self) -> None:
        """Allow the messages in flight and the pending trial message."""
        self.send(max(0, self.last - self.connection.answered))


class RdyController:
    """Decides the RDY of each connection.

    The connections of the handler's topic share max_in_flight: each gets the RDY that its load needs
    (:class:`nsqkit.policy.flow.LoadEstimate`). If the sum is too high, the busy ones get an even part of the
    budget that the others leave. Each connection of another topic gets 1 in addition.

    Args:
        topic: Topic of the handler.
        max_in_flight: Messages in flight over all connections of the topic; 1 or more.
        is_fixed: Whether max_in_flight is always shared evenly and in full.
        min_rdy: With *is_fixed*, the least RDY of each connection, so that one nsqd alone can fill a batch.
        now_s: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        topic: str,
        max_in_flight: int,
        *,
        is_fixed: bool,
        min_rdy: int = 0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._max_in_flight = max_in_flight
        self._is_fixed = is_fixed
        self._min_rdy = min_rdy
        self._now_s = now_s
        self._sharing: list[_ConnectionRdy] = []
        self._trickles: list[_ConnectionRdy] = []
        self._mode = _Mode.OPEN
        self._turn = 0
        self._is_short = False
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Connection) -> None:
        """Add a connection after its subscription."""
        entry = _ConnectionRdy(connection, is_sharing=connection.topic == self._topic)
        (self._sharing if entry.is_sharing else self._trickles).append(entry)
        connection.on_change = partial(self._changed, entry)
        self._share()

    def remove(self, connection: Connection) -> None:
        """Give a lost connection's share to the others."""
        self._sharing = [entry for entry in self._sharing if entry.connection is not connection]
        self._trickles = [entry for entry in self._trickles if entry.connection is not connection]
        self._share()

    def pause(self) -> None:
        """Stop deliveries (RDY 0), also on future connections."""
        self._enter(_Mode.PAUSED)

    def trial(self) -> None:
        """Allow one more message on each connection, in addition to those in flight, at each call."""
        for entry in (*self._sharing, *self._trickles):
            entry.last = entry.connection.received + 1
        self._enter(_Mode.TRIAL)

    def resume(self) -> None:
        """Share max_in_flight again after a pause or a trial."""
        self._enter(_Mode.OPEN)

    def stop(self) -> None:
        """Send no more RDY: the intake has ended."""
        self._mode = _Mode.STOPPED
        if self._timer is not None:
            self._timer.cancel()

    async def take_turns(self) -> None:
        """Rotate RDY if it is too small for all connections: after 5 s, or after 0.5 s while idle."""
        received, held_s = -1, 0.0
        while True:
            await asyncio.sleep(_IDLE_TURN_S)
            before, received = received, sum(entry.connection.received for entry in self._sharing)
            answered = sum(entry.connection.answered for entry in self._sharing)
            is_idle = before == received == answered
            held_s += _IDLE_TURN_S
            if self._max_in_flight < len(self._sharing) and (is_idle or held_s >= _TURN_S):
                self._turn += 1
                self._share()
                held_s = 0.0

    @property
    def _follows_load(self) -> bool:
        is_enough = self._max_in_flight >= len(self._sharing)  # otherwise RDY rotates, 1 at a time
        return is_enough and self._mode is _Mode.OPEN and not self._is_fixed

    def _enter(self, mode: _Mode) -> None:
        if self._mode is not _Mode.STOPPED:
            self._mode = mode
            self._share()

    def _changed(self, entry: _ConnectionRdy) -> None:
        """Check a connection after messages arrived on it or were answered."""
        if self._mode is _Mode.TRIAL:
            entry.send_trial()
        elif entry.is_sharing and self._follows_load:
            self._look((entry,), self._now_s())

    def _look(self, entries: Sequence[_ConnectionRdy], now_s: float) -> None:
        """Send changed RDY counts, and those of the other connections only if their shares change."""
        changed = [entry for entry in entries if entry.look(self._max_in_flight, now_s)]
        if changed and (self._is_short or self._claimed > self._max_in_flight):
            self._share()
            return
        for entry in changed:
            entry.send(entry.claim)
        self._watch(now_s)

    @property
    def _claimed(self) -> int:
        return sum([entry.claim for entry in self._sharing])

    def _share(self) -> None:
        """Send every connection its RDY."""
        if self._mode is _Mode.STOPPED:
            return
        if self._mode is _Mode.TRIAL:
            for entry in (*self._sharing, *self._trickles):
                entry.send_trial()
            return
        budget = 0 if self._mode is _Mode.PAUSED else self._max_in_flight
        for entry, share in zip(self._sharing, self._shares(budget), strict=True):
            entry.send(share)
        for entry in self._trickles:
            entry.send(min(budget, 1))
        if self._follows_load:
            self._watch(self._now_s())

    def _shares(self, budget: int) -> tuple[int, ...]:
        if not self._follows_load:
            shares = rdy_shares(budget, len(self._sharing), turn=self._turn)
            return tuple(max(share, min(budget, self._min_rdy)) for share in shares)
        now_s = self._now_s()
        for entry in self._sharing:
            entry.look(budget, now_s)
        self._is_short = self._claimed > budget
        held = [entry.load.busy for entry in self._sharing]
        return fair_shares([entry.claim for entry in self._sharing], held, budget)

    def _watch(self, now_s: float) -> None:
        """Set a timer for the next check if nsqd may buffer messages: no other event may occur before."""
        if self._timer is not None:
            return
        due = [entry.load.due_s for entry in self._sharing if entry.load.is_ahead]
        if due:
            due_s = min(due)
            self._timer = asyncio.get_running_loop().call_later(due_s - now_s, self._fire, due_s)

    def _fire(self, due_s: float) -> None:
        self._timer = None
        if self._follows_load:
            self._look(self._sharing, max(due_s, self._now_s()))  # timers of an event loop may be early
