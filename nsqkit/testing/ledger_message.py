"""A delivery from the ledger, with the attributes and answers of ``nsqkit.nsq.Message``."""

from typing import TYPE_CHECKING

from nsqkit.devbroker.message import Copy
from nsqkit.nsq.message import whole_ms
from nsqkit.policy.lease import longest_hold_s

if TYPE_CHECKING:
    from nsqkit.testing.ledger_connection import LedgerConnection

ADDRESS = "harness:4150"
"""The address of the one nsqd that the ledger stands for."""


class LedgerMessage:
    """One delivery; its attributes and answers are those of ``nsqkit.nsq.Message``."""

    def __init__(self, copy: Copy, received_s: float, connection: "LedgerConnection") -> None:
        self.id = copy.message.id
        self.body = copy.message.body
        self.timestamp_ns = copy.message.timestamp_ns
        self.attempts = copy.attempts
        self.address = ADDRESS
        self.topic = copy.channel.topic_name
        self.received_s = received_s
        self.lease_s = connection.consumer.msg_timeout_s
        self.max_lease_s = connection.max_msg_timeout_s
        self.longest_hold_s = longest_hold_s(self.lease_s, self.max_lease_s)
        self._connection = connection
        self._consumer = connection.consumer
        self._is_settled = False

    @property
    def link(self) -> "LedgerConnection":
        """The connection that it came over."""
        return self._connection

    def finish(self) -> bool:
        """FIN; False if the connection is gone.

        Raises:
            RuntimeError: If it was finished or requeued before.
        """
        self._settle_once()
        return self._connection.settle("FIN", lambda ledger, _: ledger.finish(self._consumer, self.id))

    def requeue(self, delay_s: float) -> bool:
        """REQ with a delay in seconds, rounded up to milliseconds; False if the connection is gone.

        Raises:
            RuntimeError: If it was finished or requeued before.
            ValueError: If *delay_s* is not finite.
        """
        exact_s = whole_ms(delay_s) / 1000
        self._settle_once()
        return self._connection.settle(
            "REQ",
            lambda ledger, now_s: ledger.requeue(self._consumer, self.id, exact_s, now_s=now_s),
        )

    def touch(self) -> bool:
        """TOUCH; False if the connection is gone."""
        return self._connection.settle(
            "TOUCH", lambda ledger, now_s: ledger.touch(self._consumer, self.id, now_s=now_s)
        )

    def is_lost(self) -> bool:
        """Return whether the connection is gone."""
        return not self._connection.is_open

    def forget(self) -> None:
        """Do nothing: the ledger keeps the message in flight until it times out."""

    def _settle_once(self) -> None:
        if self._is_settled:
            raise RuntimeError(f"message {self.id!r} was already finished or requeued")
        self._is_settled = True
