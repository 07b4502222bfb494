"""A handler's consumer on the harness's ledger, in place of ``nsqkit.nsq.Consumer``."""

from collections.abc import Callable, Sequence

from nsqkit.testing.ledger_connection import LedgerConnection


class LedgerConsumer:
    """One connection a topic, always connected: there is one nsqd and no nsqlookupd.

    Args:
        connect: Returns a new connection that is subscribed to a topic.
        topics: The handler's topic, then its ``.retry`` if it has one.
        max_in_flight: Messages in flight of the handler's topic; 1 or more. Its ``.retry`` has 1 in addition.
        on_lost: Called when the connections have ended.
    """

    problems: tuple[str, ...] = ()
    ready = True

    def __init__(
        self,
        connect: Callable[[str], LedgerConnection],
        topics: Sequence[str],
        max_in_flight: int,
        *,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_lost = on_lost
        self._connect = connect
        self._topics = topics
        self._max_in_flight = max_in_flight
        self._is_paused = False
        self._trial_from: int | None = None  # deliveries before a trial that has not arrived yet
        self._taker: LedgerConnection | None = None  # of this trial
        self._last: LedgerConnection | None = None  # of the one before
        self._connections: tuple[LedgerConnection, ...] = ()

    def start(self) -> None:
        """Subscribe."""
        if self._trial_from is not None:
            self._trial_from = 0
        self._connections = tuple(self._connect(topic) for topic in self._topics)
        self._share_ready()

    async def wait_ready(self) -> None:
        """Return at once: it is ready."""

    def subscribed_to(self, address: str) -> bool:
        """Return True: there is no other nsqd."""
        return True

    def poll_now(self) -> None:
        """Do nothing: there is no nsqlookupd."""

    def pause(self) -> None:
        """Stop the intake (RDY 0)."""
        self._is_paused, self._trial_from = True, None
        self._share_ready()

    def resume(self) -> None:
        """End a pause or a trial."""
        self._is_paused, self._trial_from = False, None
        self._share_ready()

    def trial(self) -> None:
        """Take one message in total, of any topic, in addition to those in flight."""
        self._is_paused, self._trial_from = True, self._received
        self._share_ready()
        self.offer_trial()

    def set_max_in_flight(self, count: int) -> None:
        """Change max_in_flight; with 0 nothing more is taken, not even as a trial."""
        self._max_in_flight = count
        self._share_ready()
        self.offer_trial()

    def offer_trial(self) -> None:
        """Let a topic with a waiting message take a trial, each in turn; called before each delivery.

        ``nsqkit.nsq.Consumer`` cannot know where messages wait, so it asks its connections in turn.
        """
        if self._trial_from is None or not self._max_in_flight:
            return
        if self._received > self._trial_from:
            self._last = self._taker
            self.pause()
            return
        waiting = [each for each in self._connections if each.is_waited_for]
        self._taker = min(waiting, key=lambda each: each is self._last, default=None)
        for connection in self._connections:
            connection.ready(connection.consumer.in_flight_count + 1 if connection is self._taker else 0)

    def reconnect(self) -> None:
        """Close every connection, and connect again."""
        for connection in self._connections:
            connection.close()
        self._on_lost()
        self.start()

    async def stop_intake(self) -> None:
        """Stop the intake for good (CLS)."""
        for connection in self._connections:
            connection.stop_intake()

    async def close(self, timeout_s: float) -> None:
        """Disconnect."""
        for connection in self._connections:
            connection.close()

    @property
    def _received(self) -> int:
        return sum(connection.consumer.message_count for connection in self._connections)

    def _share_ready(self) -> None:
        budget = 0 if self._is_paused else self._max_in_flight
        for index, connection in enumerate(self._connections):
            connection.ready(min(budget, 1) if index else budget)
