"""Tables: the mails that were sent, in the database of the service notifications."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from nsqkit.sql import Database

database = Database("notifications")


class Base(DeclarativeBase):
    """The tables of this service."""


class SentMail(Base):
    """One mail."""

    __tablename__ = "mails"

    message_id: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str]
    subject: Mapped[str]
