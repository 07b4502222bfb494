"""Requeue: a delay longer than nsqd keeps, as a row of the outbox; a row of the inbox counts the attempts.

It begins and commits no transaction.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from sqlalchemy import Connection, and_, delete, select, update
from sqlalchemy.sql import ColumnElement

from nsqkit.handler.context import Context
from nsqkit.handler.outgoing import Outgoing
from nsqkit.policy.verdict import RequeueReason, Verdict
from nsqkit.sql import outbox
from nsqkit.sql.inbox import InboxKey
from nsqkit.sql.tables import INBOX, INSERT


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that waits for a row of the outbox to deliver it again.

    Args:
        attempts: Attempts so far; 1 or more.
        due_s: When it is delivered, seconds since 1970 UTC.
    """

    attempts: int
    due_s: float


@dataclass(frozen=True, slots=True)
class LongRequeue:
    """A requeue whose delay is longer than nsqd keeps.

    Args:
        key: The event and its handler.
        ctx: Context of its message.
        topic: Topic whose messages reach only this handler.
        delay_s: Seconds until it is delivered again.
    """

    key: InboxKey
    ctx: Context
    topic: str
    delay_s: float

    @classmethod
    def of(cls, key: InboxKey, ctx: Context, verdict: Verdict) -> Self | None:
        """Return what a verdict asks for; None if nsqd keeps the delay, or the handler has no such topic.

        Args:
            key: The event and its handler.
            ctx: Context of its message.
            verdict: The verdict on the outcome that the handler returned.
        """
        topic = ctx.delivery.retry_topic
        if topic is None or verdict.reason is not RequeueReason.REQUESTED or not verdict.clamped:
            return None
        return cls(key, ctx, topic, verdict.asked_s)


def store(connection: Connection, requeue: LongRequeue, *, now_s: float) -> bool:
    """Add the rows of a requeue, and return whether there are any: not if a copy was handled meanwhile.

    Args:
        connection: A connection in a transaction.
        requeue: The requeue.
        now_s: The present time, seconds since 1970 UTC.
    """
    due_s = now_s + requeue.delay_s
    if not _keep(connection, requeue.key, Waiting(requeue.ctx.delivery.attempts, due_s)):
        return False
    outbox.store(
        connection, [Outgoing(requeue.topic, requeue.ctx.body, at_s=due_s)], now_s=now_s, lease_s=0.0
    )
    return True


def resume(
    connection: Connection, contexts: Mapping[InboxKey, Context], *, now_s: float
) -> dict[InboxKey, Waiting]:
    """Mark events as handled that were requeued and are due, and return them; count their attempts.

    A copy on the topic of the handler's alone is always due: the row of the outbox may have delivered it, by
    another clock than this one. Any other copy is early before that time.

    Args:
        connection: A connection in a transaction.
        contexts: Events that the inbox has, and the Contexts of their messages.
        now_s: The present time, seconds since 1970 UTC.
    """
    found: dict[InboxKey, Waiting] = {}
    for key, ctx in contexts.items():
        query = select(INBOX.c.attempts, INBOX.c.handled_at).where(_is(key), INBOX.c.attempts.is_not(None))
        row = connection.execute(query.with_for_update()).one_or_none()
        if row is None or not (ctx.delivery.is_replayed or row.handled_at <= now_s):
            continue
        connection.execute(update(INBOX).where(_is(key)).values(attempts=None, handled_at=now_s))
        ctx.resume(row.attempts)
        found[key] = Waiting(row.attempts, row.handled_at)
    return found


def put_back(connection: Connection, events: Iterable[tuple[InboxKey, Waiting]]) -> None:
    """Let events of the running transaction, which were resumed and are not finished, wait as before.

    Args:
        connection: A connection in a transaction.
        events: The events.
    """
    for key, waiting in events:
        connection.execute(update(INBOX).where(_is(key)).values(**_columns(waiting)))


def forget(connection: Connection, keys: Iterable[InboxKey]) -> None:
    """Delete the attempts of events that have become dead letters: a replay begins again.

    Args:
        connection: A connection in a transaction.
        keys: The events.
    """
    for key in keys:
        connection.execute(delete(INBOX).where(_is(key), INBOX.c.attempts.is_not(None)))


def _keep(connection: Connection, key: InboxKey, waiting: Waiting) -> bool:
    """Add the row of an event, or change it; return False if the event was handled."""
    insert = INSERT[connection.dialect.name](INBOX).values(**asdict(key), **_columns(waiting))
    kept = insert.on_conflict_do_update(
        index_elements=INBOX.primary_key.columns, set_=_columns(waiting), where=INBOX.c.attempts.is_not(None)
    )
    return connection.execute(kept.returning(INBOX.c.event_id)).first() is not None


def _columns(waiting: Waiting) -> dict[str, Any]:
    return {"attempts": waiting.attempts, "handled_at": waiting.due_s}


def _is(key: InboxKey) -> ColumnElement[bool]:
    return and_(*(INBOX.c[name] == value for name, value in asdict(key).items()))
