"""Waking: asks instances of sagas whose time has come to go on, by messages in the outbox."""

from typing import Final

from sqlalchemy import Connection, select, update

from nsqkit.events.codec.encoder import encode
from nsqkit.events.stamp import stamp
from nsqkit.handler.outgoing import Outgoing
from nsqkit.sql import outbox
from nsqkit.sql.saga.events import SagaSignal, Signal
from nsqkit.sql.tables import SAGA

AGAIN_S: Final = 60.0
"""Seconds until an instance is woken again that has not changed."""


def signal_event(key: str, signal: Signal, topic: str, reason: str = "") -> Outgoing:
    """Return the event that asks an instance for something.

    Args:
        key: Key of the instance.
        signal: What is asked.
        topic: Topic on which its workers listen.
        reason: Why, in one line.
    """
    _, body = encode(SagaSignal(key, signal, reason), stamp("nsqkit"))
    return Outgoing(topic, body)


def wake(connection: Connection, *, now_s: float, most: int) -> int:
    """Add an event to the outbox for each instance whose time has come, and return their number.

    Several processes may do so at once: an instance is woken by one of them.

    Args:
        connection: A connection in a transaction.
        now_s: The present time, seconds since 1970 UTC.
        most: Most instances to wake; 1 or more.
    """
    due = (
        select(SAGA.c.key, SAGA.c.saga, SAGA.c.topic)
        .where(SAGA.c.wake_at <= now_s)
        .order_by(SAGA.c.wake_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(due).all()
    events = [signal_event(row.key, "due", row.topic) for row in found]
    for row in found:
        which = (SAGA.c.key == row.key, SAGA.c.saga == row.saga)
        connection.execute(update(SAGA).where(*which).values(wake_at=now_s + AGAIN_S))
    if events:
        outbox.store(connection, events, now_s=now_s, lease_s=0.0)
    return len(found)
