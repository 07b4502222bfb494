"""One subscribed connection to the harness's ledger, without a socket."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from nsqkit.devbroker.channel import SettleError
from nsqkit.devbroker.consumer import Consumer
from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.message import Copy
from nsqkit.testing.ledger_message import ADDRESS, LedgerMessage

if TYPE_CHECKING:
    from nsqkit.testing.ledger_broker import LedgerBroker


class LedgerConnection:
    """One subscribed connection.

    Args:
        broker: The broker that it is connected to.
        consumer: The consumer that the ledger has for it.
        on_messages: Called with each delivery, in a list.
        on_settle_failure: Called with the command that was refused, such as ``FIN``.
    """

    def __init__(
        self,
        broker: "LedgerBroker",
        consumer: Consumer,
        on_messages: Callable[[Any], None],
        on_settle_failure: Callable[[str], None],
    ) -> None:
        self.address = ADDRESS
        self.consumer = consumer
        self.lease_s = consumer.msg_timeout_s
        self.max_msg_timeout_s = broker.ledger.limits.max_msg_timeout_s
        self.is_open = True
        self._broker = broker
        self._on_messages = on_messages
        self._on_settle_failure = on_settle_failure

    def deliver(self, copy: Copy, received_s: float) -> None:
        """Pass a delivery to the consumer."""
        self._on_messages([LedgerMessage(copy, received_s, self)])

    @property
    def is_waited_for(self) -> bool:
        """Whether a message can be delivered as soon as RDY allows one."""
        channel = self.consumer.channel
        return bool(channel.queued) and not channel.paused and not self.consumer.closing

    def ready(self, count: int) -> None:
        """RDY; has no effect if the count is the same."""
        if count != self.consumer.ready_count:
            self._broker.ledger.ready(self.consumer, count)
            self._broker.changed()

    def settle(self, command: str, answer: Callable[[Ledger, float], None]) -> bool:
        """Answer a delivery.

        Args:
            command: The NSQ command, for ``on_settle_failure``.
            answer: Called with the ledger and the time; carries out the command.

        Returns:
            Whether the connection was still open; if not, nothing was sent.
        """
        if not self.is_open:
            return False
        try:
            answer(self._broker.ledger, self._broker.now_s())
        except SettleError:
            self._on_settle_failure(command)
        self._broker.changed()
        return True

    def finish_all(self, ids: Sequence[bytes]) -> bool:
        """FIN for each of these messages; False if the connection is gone."""
        for id_ in ids:
            self.settle("FIN", partial(_finish, self.consumer, id_))
        return self.is_open

    def stop_intake(self) -> None:
        """CLS."""
        self._broker.ledger.close(self.consumer)

    def close(self) -> None:
        """Disconnect; does nothing the second time."""
        if self.is_open:
            self.is_open = False
            self._broker.unsubscribe(self)


def _finish(consumer: Consumer, id_: bytes, ledger: Ledger, _now_s: float) -> None:
    ledger.finish(consumer, id_)
