"""Once: the extension that lets a handler handle each event once."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from nsqkit.events.codec.envelope import read_origin
from nsqkit.handler.context import Context
from nsqkit.handler.extension import Extension, Next
from nsqkit.handler.once import EventKey
from nsqkit.handler.resources import Resource
from nsqkit.policy.outcome import DeadLetter, Discard, Duplicate, Finish, Outcome, Requeue
from nsqkit.sql.inbox import InboxKey
from nsqkit.sql.locks import LockedError
from nsqkit.sql.transaction import HandledBeforeError, Transaction, drop_events

NAMELESS: Final = "the event has no envelope with source and id; add event_key=… to the handler's once=…"
"""Why an event without a key becomes a dead letter."""


@dataclass(frozen=True, slots=True)
class Handling:
    """A message that a plain handler is about to handle in a thread.

    Args:
        session: Its session.
        key: Its key in the inbox.
        ctx: Its Context.
    """

    session: Resource[Any]
    key: InboxKey
    ctx: Context


handling: ContextVar[Handling | None] = ContextVar("handling", default=None)
"""The message whose handler is called; its thread sees it too."""


@dataclass(frozen=True, slots=True)
class HandlerInbox:
    """What is known of the inbox of one handler. It has no state, so that workers may share it.

    Args:
        handler: Name of the handler class.
        session: Its session, on the event loop or in a thread.
        event_key: Identifies events without an envelope; None if the handler takes none.
    """

    handler: str
    session: Resource[Any]
    event_key: EventKey | None

    def key_of(self, event: Any, ctx: Context) -> InboxKey | None:
        """Return what identifies an event; None if nothing does.

        Args:
            event: The decoded event.
            ctx: Context of its message.

        Raises:
            TypeError: If ``event_key`` returns no text, or an empty one.
        """
        origin = read_origin(ctx.body)
        if origin is not None and origin[1]:
            return InboxKey.of(self.handler, ctx, *origin)
        if self.event_key is None:
            return None
        given: object = self.event_key(event)
        if not (isinstance(given, str) and given):
            raise TypeError(
                f"event_key of {self.handler} returned {given!r}; return a text that is not empty"
            )
        return InboxKey.of(self.handler, ctx, "", given)

    def transaction_of(self, session: AsyncSession | Session) -> Transaction:
        """Return the transaction of a session that ``session`` has opened."""
        found: Transaction = session.info[Transaction]
        return found


class InboxExtension(Extension):
    """Asks the inbox before each call of one handler.

    Args:
        inbox: The inbox of the handler.
    """

    def __init__(self, inbox: HandlerInbox) -> None:
        self.uses = (inbox.session,)
        self._inbox = inbox

    async def around_handle(self, event: Any, ctx: Context, call_next: Next) -> Outcome | Duplicate | None:
        """Add the event to the inbox and call the handler; finish the message if it was handled before."""
        inbox = self._inbox
        key = inbox.key_of(event, ctx)
        if key is None:
            return DeadLetter(NAMELESS)
        try:
            if inbox.session.is_async:
                return await self._on_loop(event, ctx, call_next, key)
            token = handling.set(Handling(inbox.session, key, ctx))
            try:
                return await _called(event, ctx, call_next)
            finally:
                handling.reset(token)
        except HandledBeforeError:
            return Duplicate()
        except LockedError:
            return Requeue()

    async def _on_loop(self, event: Any, ctx: Context, call_next: Next, key: InboxKey) -> Outcome | None:
        session: AsyncSession = ctx.resource(self._inbox.session)
        transaction = self._inbox.transaction_of(session)
        await session.run_sync(lambda _: transaction.begin(key, ctx))
        transaction.is_given_up = True
        outcome = await _called(event, ctx, call_next)
        transaction.is_given_up = not is_final_outcome(outcome)
        return outcome


async def _called(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
    """Call the handler; drop its follow-up events if nothing is committed, whatever a middleware returns."""
    is_final = False
    try:
        outcome = await call_next(event, ctx)
        is_final = is_final_outcome(outcome)
        return outcome
    finally:
        if not is_final:
            drop_events(ctx)


def is_final_outcome(outcome: Outcome | Duplicate | None) -> bool:
    """Return whether an outcome of a handler is committed."""
    return outcome is None or isinstance(outcome, Finish | Discard)
