"""Handlers: notifications mails the customer what happened to the order."""

from email.message import EmailMessage
from typing import Final

from examples.orders.events import OrderCancelled, OrderConfirmed, OrderPlaced
from examples.orders.notifications.mailer import Mailer, mailer
from examples.orders.notifications.tables import SentMail, database
from nsqkit import Context, Discard, Handler, Outcome

__all__ = ["MailCancellation", "MailConfirmation", "MailReceipt", "mailer"]

News = OrderPlaced | OrderConfirmed | OrderCancelled
SENDER: Final = "shop@example.org"


class MailReceipt(Handler[OrderPlaced], channel="notifications", threads=2, once=database):
    """Mails that an order has arrived; in threads, because smtplib blocks."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer

    def handle(self, event: OrderPlaced, ctx: Context) -> Outcome | None:
        """Send the mail."""
        text = f"We have your order {event.order_id} over {event.total_cents / 100:.2f} dollars."
        return _send(self._mailer, ctx, event, "received", text)


class MailConfirmation(Handler[OrderConfirmed], channel="notifications", threads=2, once=database):
    """Mails that an order is confirmed."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer

    def handle(self, event: OrderConfirmed, ctx: Context) -> Outcome | None:
        """Send the mail."""
        text = f"Your order {event.order_id} over {event.total_cents / 100:.2f} dollars is confirmed."
        return _send(self._mailer, ctx, event, "confirmed", text)


class MailCancellation(Handler[OrderCancelled], channel="notifications", threads=2, once=database):
    """Mails that an order is cancelled, and why."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer

    def handle(self, event: OrderCancelled, ctx: Context) -> Outcome | None:
        """Send the mail."""
        text = f"Your order {event.order_id} is cancelled: {event.reason}. You are not charged."
        return _send(self._mailer, ctx, event, "cancelled", text)


def _send(mailer: Mailer, ctx: Context, event: News, what: str, text: str) -> Outcome | None:
    """Send the mail of an event, and write it down."""
    if not event.email:
        return Discard("the order has no mail address")
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SENDER, event.email, f"Your order is {what}"
    # A mail may leave twice, when the worker dies after it: the same id lets mail programs show one.
    message["Message-ID"] = f"<{event.order_id}.{what}@shop.example.org>"
    message.set_content(text)
    mailer.send(message)
    row = SentMail(message_id=message["Message-ID"], order_id=event.order_id, subject=message["Subject"])
    ctx.resource(database.plain_session).add(row)
    return None
