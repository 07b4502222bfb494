"""Message: what the adapter makes is what the runtime needs."""

from typing import TYPE_CHECKING

from nsqkit import nsq
from tests.unit.runtime.bench import FakeMessage

if TYPE_CHECKING:
    from nsqkit.runtime.message import Message


class Wire:
    """Where a real message's answers go."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def settle(self, command: bytes) -> bool:
        self.sent.append(command)
        return True

    def send(self, data: bytes) -> bool:
        raise NotImplementedError

    def is_lost(self) -> bool:
        raise NotImplementedError

    def forget(self) -> None:
        raise NotImplementedError


def real(wire: Wire) -> nsq.Message:
    return nsq.Message(b"0123456789abcdef", b"{}", 1, 2, "nsqd:4150", "orders", 3.0, 60.0, 900.0, wire)


def test_the_adapters_message_and_the_fake_one_are_messages() -> None:
    """Mypy proves the rest: both may be assigned."""
    messages: tuple[Message, ...] = (real(Wire()), FakeMessage())
    for message in messages:
        assert len(message.id) == 16
        assert (message.body, message.lease_s) == (b"{}", 60.0)


def test_its_answers_are_the_commands_of_nsq() -> None:
    wire = Wire()
    finished: Message = real(wire)
    requeued: Message = real(wire)
    assert finished.finish()
    assert requeued.requeue(1.5)
    assert wire.sent == [b"FIN 0123456789abcdef\n", b"REQ 0123456789abcdef 1500\n"]
