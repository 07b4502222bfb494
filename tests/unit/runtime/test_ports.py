"""Ports: what the adapter makes is what the runtime needs."""

from typing import TYPE_CHECKING

from nsqkit import nsq
from tests.unit.nsq.fake_link import FakeLink
from tests.unit.runtime.bench import FakeMessage

if TYPE_CHECKING:
    from nsqkit.runtime.ports import Message


def real(wire: FakeLink) -> nsq.Message:
    return nsq.Message(b"0123456789abcdef", b"{}", 1, 2, 3.0, wire)


def test_the_adapters_message_and_the_fake_one_are_messages() -> None:
    """Mypy proves the rest: both may be assigned."""
    messages: tuple[Message, ...] = (real(FakeLink()), FakeMessage())
    for message in messages:
        assert len(message.id) == 16
        assert (message.body, message.lease_s) == (b"{}", 60.0)


def test_its_answers_are_the_commands_of_nsq() -> None:
    wire = FakeLink()
    finished: Message = real(wire)
    requeued: Message = real(wire)
    assert finished.finish()
    assert requeued.requeue(1.5)
    assert wire.commands == [b"FIN 0123456789abcdef\n", b"REQ 0123456789abcdef 1500\n"]
