"""Notifications: mails leave by SMTP to a real server, or become files."""

import email
import email.policy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from examples.orders.events import OrderCancelled, OrderConfirmed, OrderPlaced
from examples.orders.notifications.handlers import MailCancellation, MailConfirmation, MailReceipt
from nsqkit import Handler, Settings
from nsqkit.testing import Harness
from tests.ports import free_port

HANDLERS: list[type[Handler[Any]]] = [MailReceipt, MailConfirmation, MailCancellation]


class Inbox:
    """What an SMTP server has received."""

    def __init__(self) -> None:
        self.received: list[Envelope] = []
        self.answers = ["451 try again later"]  # to the first mail

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802
        if self.answers:
            return self.answers.pop()
        self.received.append(envelope)
        return "250 OK"


@pytest.fixture
def smtp() -> Iterator[tuple[str, Inbox]]:
    """``host:port`` of an SMTP server, and its mails."""
    inbox, port = Inbox(), free_port()
    server = Controller(inbox, hostname="127.0.0.1", port=port)
    server.start()
    yield f"127.0.0.1:{port}", inbox
    server.stop()


async def test_a_mail_that_is_refused_for_now_is_sent_again_and_arrives_once(
    settings: Settings, smtp: tuple[str, Inbox]
) -> None:
    address, inbox = smtp
    with_smtp = Settings(app={**settings.app, "smtp": address})
    async with Harness(HANDLERS, settings=with_smtp) as h:
        await h.publish(OrderConfirmed("o1", "ann@example.org", 1250))
        await h.settle(through_delays=True)
        h.requeued(OrderConfirmed).once()
    (received,) = inbox.received
    assert (received.mail_from, received.rcpt_tos) == ("shop@example.org", ["ann@example.org"])
    message = email.message_from_bytes(received.original_content or b"", policy=email.policy.default)
    assert message["Subject"] == "Your order is confirmed"
    assert message["Message-ID"] == "<o1.confirmed@shop.example.org>"
    assert message.get_content().strip() == "Your order o1 over 12.50 dollars is confirmed."


async def test_without_a_server_mails_are_files(settings: Settings, tmp_path: Path) -> None:
    async with Harness(HANDLERS, settings=settings) as h:
        await h.publish(OrderPlaced("o1", "ann@example.org", 1250))
        await h.publish(OrderCancelled("o1", "ann@example.org", "not enough stock of tea"))
        await h.publish(OrderConfirmed("o2", "", 1250))
        await h.settle(through_delays=True)
        h.discarded(OrderConfirmed).once()
    found = {path.name: path.read_text() for path in (tmp_path / "mail").iterdir()}
    assert sorted(found) == ["o1.cancelled.eml", "o1.received.eml"]
    assert "cancelled: not enough stock of tea" in found["o1.cancelled.eml"]
