"""RDY control: sets the RDY of all connections of one handler. It opens and closes none of them."""

from collections.abc import Iterable, Sequence
from enum import Enum
from functools import partial

from nsqkit.nsq.connection import Connection
from nsqkit.nsq.rdy_timer import RdyTimer
from nsqkit.policy.flow import LoadEstimate, rdy_shares
from nsqkit.policy.lending import Lending


class _Mode(Enum):
    OPEN = "as the load has it"
    PAUSED = "nothing more"
    TRIAL = "one more"
    STOPPED = "no RDY any more"


class _ConnectionRdy:
    """One connection with its load estimate and the RDY that the load needs."""

    __slots__ = ("claim", "connection", "is_sharing", "load")

    def __init__(self, connection: Connection, *, is_sharing: bool) -> None:
        self.connection = connection
        self.is_sharing = is_sharing
        self.load = LoadEstimate()
        self.claim = 0

    def look(self, most: int, now_s: float) -> bool:
        """Update the load and the claim, and return whether they may need another RDY."""
        connection, load, before, was_idle = self.connection, self.load, self.claim, self.load.is_idle
        load.look(connection.received, connection.answered, age_s=connection.age_s, now_s=now_s)
        self.claim = load.claim(min(most, connection.limits.max_rdy_count), now_s=now_s)
        return self.claim != before or load.is_idle is not was_idle


class RdyController:
    """Decides the RDY of each connection.

    The connections of the handler's topic share max_in_flight: each gets the RDY that its load needs
    (:class:`nsqkit.policy.flow.LoadEstimate`). If the sum is too high, idle ones lend their part
    (:class:`nsqkit.policy.lending.Lending`). Each connection of another topic gets 1 in addition.

    Args:
        topic: Topic of the handler.
        max_in_flight: Messages in flight over all connections of the topic; 1 or more.
        is_fixed: Whether max_in_flight is always shared evenly and in full, if it is enough for all.
        min_rdy: With *is_fixed*, the least RDY of each connection, so that one nsqd alone can fill a batch;
            never above max_in_flight.
        timer: Timer that the handlers of a worker share.
    """

    def __init__(
        self,
        topic: str,
        max_in_flight: int,
        *,
        is_fixed: bool,
        min_rdy: int = 0,
        timer: RdyTimer,
    ) -> None:
        self._topic = topic
        self._max_in_flight = max_in_flight
        self._is_fixed = is_fixed
        self._min_rdy = min_rdy
        self._timer = timer
        self._now_s = timer.now_s
        self._sharing: list[_ConnectionRdy] = []
        self._trickles: list[_ConnectionRdy] = []
        self._mode = _Mode.OPEN
        self._lending = Lending()

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
        """Allow one more message in total, over all connections and topics, in addition to those in flight.

        One connection at a time may bring it; where nothing arrives within a short turn, the next one may.
        Each call allows one again. Calls before a message arrives do not add up.
        """
        now_s = self._now_s()
        for entry in (*self._sharing, *self._trickles):
            entry.look(1, now_s)
        self._lending.restart(now_s=now_s)
        self._enter(_Mode.TRIAL)

    def resume(self) -> None:
        """Share max_in_flight again after a pause or a trial."""
        self._enter(_Mode.OPEN)

    def set_max_in_flight(self, count: int) -> None:
        """Share another number of messages in flight.

        Args:
            count: 0 or more; with 0 nothing more is delivered on any topic, not even as a trial.

        Raises:
            ValueError: If *count* is negative.
        """
        if count < 0:
            raise ValueError(f"max_in_flight={count!r} is negative")
        self._max_in_flight = count
        self._share()

    def stop(self) -> None:
        """Send no more RDY: the intake has ended."""
        self._mode = _Mode.STOPPED
        self._timer.cancel(self._check)

    @property
    def _follows_load(self) -> bool:
        """Whether RDY depends on the load: also a fixed one if there is not enough for all connections."""
        if self._mode is not _Mode.OPEN or not self._max_in_flight:
            return False
        return not (self._is_fixed and (self._min_rdy or self._max_in_flight >= len(self._sharing)))

    def _enter(self, mode: _Mode) -> None:
        if self._mode is not _Mode.STOPPED:
            self._mode = mode
            self._share()

    def _changed(self, entry: _ConnectionRdy) -> None:
        """Check a connection before its commands are written, and once for each chunk of messages."""
        connection, load = entry.connection, entry.load
        if connection.received == load.received and connection.answered == load.received - load.busy:
            return  # the commands are no answers
        if entry.is_sharing and self._follows_load:
            self._look((entry,), self._now_s())
        elif self._mode is _Mode.TRIAL:
            self._share()

    def _look(self, entries: Sequence[_ConnectionRdy], now_s: float) -> None:
        """Send changed RDY counts, and those of the other connections only if their shares change."""
        changed = [entry for entry in entries if entry.look(self._max_in_flight, now_s)]
        is_scarce = self._lending.is_scarce or self._claimed > self._max_in_flight
        if (changed and is_scarce) or self._lending.is_waiting:
            self._share(now_s)
            return
        for entry in changed:
            entry.load.grant(entry.claim, now_s=now_s)
            entry.connection.ready(entry.claim)
        self._watch(now_s)

    @property
    def _claimed(self) -> int:
        return sum([entry.claim for entry in self._sharing])

    def _share(self, now_s: float | None = None) -> None:
        """Send every connection its RDY."""
        if self._mode is _Mode.STOPPED:
            return
        now_s = self._now_s() if now_s is None else now_s
        entries = (*self._sharing, *self._trickles)
        self._send(zip(entries, self._shares(entries, now_s), strict=True), now_s)

    def _send(self, shares: Iterable[tuple[_ConnectionRdy, int]], now_s: float) -> None:
        for entry, share in shares:
            if share != entry.connection.rdy:
                entry.connection.ready(share)
        self._watch(now_s)

    def _shares(self, entries: Sequence[_ConnectionRdy], now_s: float) -> tuple[int, ...]:
        if self._mode is _Mode.TRIAL and any(e.connection.received != e.load.received for e in entries):
            self._mode = _Mode.PAUSED  # the trial has arrived
        budget = self._max_in_flight if self._mode is _Mode.OPEN else 0
        if self._mode is _Mode.TRIAL and self._max_in_flight:
            for entry in entries:
                entry.look(1, now_s)
            return self._lending.share_one([entry.load for entry in entries], now_s=now_s)
        trickles = (min(budget, 1),) * len(self._trickles)
        if not self._follows_load:
            self._lending.stop()
            least = min(budget, self._min_rdy)
            shares = *(max(share, least) for share in rdy_shares(budget, len(self._sharing))), *trickles
            for entry, share in zip(entries, shares, strict=True):
                entry.load.grant(share, now_s=now_s)
            return shares
        for entry in self._sharing:
            entry.look(budget, now_s)
        claims = [entry.claim for entry in self._sharing]
        shares = self._lending.share([entry.load for entry in self._sharing], claims, budget, now_s=now_s)
        return *shares, *trickles

    def _watch(self, now_s: float) -> None:
        """Ask for the next check: no other event may occur before."""
        due_s = self._lending.due_s([entry.load for entry in self._sharing])
        if self._follows_load:  # where more than one message may arrive, nsqd may buffer them
            due_s = min([due_s, *[entry.load.due_s for entry in self._sharing]])
        self._timer.call_at(due_s, self._check, now_s=now_s)

    def _check(self, now_s: float) -> None:
        entries = self._sharing if self._mode is _Mode.OPEN else [*self._sharing, *self._trickles]
        if self._lending.is_lending and self._lending.pass_turn([e.load for e in entries], now_s=now_s):
            self._send([(entry, entry.load.rdy) for entry in entries], now_s)
        elif self._lending.is_lending:
            self._share(now_s)
        elif self._follows_load:
            self._look(self._sharing, now_s)
