"""A handler's consumer on the harness's ledger, in place of ``nsqkit.nsq.Consumer``."""

from collections.abc import Callable, Sequence

from nsqkit.policy.flow import rdy_shares
from nsqkit.testing.ledger_connection import LedgerConnection


class LedgerConsumer:
    """One connection a topic, always connected: there is one nsqd and no nsqlookupd.

    Args:
        connect: Returns a new connection that is subscribed to a topic.
        topics: The handler's topic, then its ``.retry`` if it has one.
        max_in_flight: Shared by the topics; 1 or more.
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
        self._connections: tuple[LedgerConnection, ...] = ()

    def start(self) -> None:
        """Subscribe."""
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
        self._is_paused = True
        self._share_ready()

    def set_max_in_flight(self, count: int) -> None:
        """STUB."""

    def resume(self) -> None:
        """End a pause."""
        self._is_paused = False
        self._share_ready()

    def trial(self) -> None:
        """Take one message more than are in flight."""
        self._is_paused = False
        for connection in self._connections:
            connection.ready(connection.consumer.in_flight_count + 1)

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

    def _share_ready(self) -> None:
        topics = len(self._topics)
        budget = 0 if self._is_paused else self._max_in_flight
        shares = rdy_shares(budget, topics, trickles=topics - 1)
        for connection, share in zip(self._connections, shares, strict=True):
            # With less than one each, nsqkit.nsq.Consumer lets the topics take turns. Here each gets one,
            # and the intake still starts no more than max_in_flight at a time.
            connection.ready(share or min(budget, 1))
