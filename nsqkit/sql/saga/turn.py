"""Turn: applies one event to one instance, in one transaction with the commands that follow from it."""

import os
import platform
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from nsqkit.handler.context import Context
from nsqkit.handler.outgoing import Outgoing
from nsqkit.handler.sagas import Moment
from nsqkit.policy.saga import decide
from nsqkit.policy.saga_terms import Action, Begun, Event, Progress, Start, Status, Stranded
from nsqkit.sql.locks import limit, limited
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.outage import as_outage
from nsqkit.sql.saga import store
from nsqkit.sql.saga.events import SagaCall
from nsqkit.sql.saga.steps import Send
from nsqkit.sql.saga.store import Instance
from nsqkit.sql.transaction import stored

if TYPE_CHECKING:
    from nsqkit.sql.saga.spec import SagaSpec

Members = Mapping[int, Any]
"""An object of each known version of one saga."""
Read = Callable[[Any, Instance], "tuple[Event, Any] | str"]
"""Takes the object of an instance's version, and the instance.

Returns what happened and the new state, None for the same one; or why nothing changes.
"""


@dataclass(frozen=True, slots=True)
class Turned:
    """What a turn has done.

    Args:
        instance: The instance afterwards; None if there is none.
        ignored: Why nothing has changed; empty if something has.
        was: Status before; None for a new instance.
    """

    instance: Instance | None
    ignored: str = ""
    was: Status | None = None


class Turns:
    """Applies events to the instances in one database.

    Args:
        database: The open database.
        service: Name of this service, for the column of the owner.
    """

    def __init__(self, database: OpenDatabase, service: str) -> None:
        self._database = database
        self._owner = f"{service}@{platform.node()}:{os.getpid()}"

    @property
    def now_s(self) -> float:
        """The present time of the database, seconds since 1970 UTC."""
        return self._database.now_s()

    async def begin(self, members: Members, ctx: Context, start: Any) -> Turned:
        """Create an instance and start its first step; do nothing if its key is known.

        Args:
            members: An object of each known version.
            ctx: Context of the message.
            start: The event that starts it.

        Raises:
            LockedError: If another transaction keeps a lock for too long.
        """
        member = next(each for each in members.values() if isinstance(start, each.spec.start))
        spec: SagaSpec = member.spec

        def work(connection: Connection) -> tuple[Turned, list[Outgoing]]:
            now_s = self.now_s
            instance = Instance(
                saga=spec.name,
                key=start.key,
                version=spec.version,
                correlation_id=start.correlation_id,
                topic=spec.topic,
                epoch=0,
                owner=self._owner,
                state=spec.write_state(start.state),
                progress=Progress(),
                notes=(Moment(now_s, f"version {spec.version} begun"),),
                started_at=now_s,
                changed_at=now_s,
            )
            if not store.add(connection, instance):
                return Turned(None, "double"), []
            return self._decided(connection, member, instance, Begun(), ctx=ctx)

        return await self._committed(ctx, work)

    async def apply(
        self, members: Members, ctx: Context, read: Read, *, key: str = "", correlation_id: str = ""
    ) -> Turned:
        """Apply what has happened to an instance.

        Args:
            members: An object of each known version.
            ctx: Context of the message.
            read: Says what happened.
            key: Key of the instance; empty to find it by its *correlation_id*.
            correlation_id: ``correlationid`` of the instance.

        Raises:
            LockedError: If another transaction keeps a lock for too long.
        """
        newest = max(members)
        saga: str = members[newest].spec.name

        def work(connection: Connection) -> tuple[Turned, list[Outgoing]]:
            instance = store.find(connection, saga, key=key, correlation_id=correlation_id)
            if instance is None:
                return Turned(None, "unknown"), []
            member = members.get(instance.version)
            if member is None:
                return self._stranded(connection, members[newest], instance, ctx)
            found = read(member, instance)
            if isinstance(found, str):
                return Turned(instance, found), []
            event, state = found
            return self._decided(connection, member, instance, event, ctx=ctx, state=state)

        return await self._committed(ctx, work)

    def _stranded(
        self, connection: Connection, newest: Any, instance: Instance, ctx: Context
    ) -> tuple[Turned, list[Outgoing]]:
        """Set an instance aside whose old version is gone; leave one of a newer version to newer workers."""
        if instance.version > newest.spec.version:
            return Turned(instance, "newer"), []
        event = Stranded(f"no worker has version {instance.version}; add older=[…] to the class of the saga")
        return self._decided(connection, newest, instance, event, ctx=ctx)

    def _decided(
        self,
        connection: Connection,
        member: Any,
        before: Instance,
        event: Event,
        *,
        ctx: Context,
        state: Any = None,
    ) -> tuple[Turned, list[Outgoing]]:
        spec: SagaSpec = member.spec
        now_s, draw = self.now_s, random.random()  # noqa: S311 - no secret
        decision = decide(spec.plan, before.progress, event, now_s=now_s, draw=draw)
        if decision.ignored:
            return Turned(before, decision.ignored), []
        text = before.state if state is None else spec.write_state(state)
        notes = tuple(Moment(now_s, each) for each in decision.notes)
        after = replace(
            before,
            owner=self._owner,
            state=text,
            progress=decision.progress,
            notes=store.with_notes(before.notes, notes),
            changed_at=now_s,
        )
        if not store.save(connection, before, after):
            raise RuntimeError(f"saga {spec.name}, key {before.key}: another worker has changed it meanwhile")
        outgoing = [_message(member, after, start, ctx) for start in decision.starts]
        was = None if isinstance(event, Begun) else before.progress.status
        return Turned(replace(after, epoch=before.epoch + 1), was=was), outgoing

    async def _committed(
        self, ctx: Context, work: Callable[[Connection], tuple[Turned, list[Outgoing]]]
    ) -> Turned:
        """Do work in a transaction; its messages leave after the commit, on the path of all others.

        Raises:
            LockedError: If another worker keeps the instance, or SQLite's lock, for too long.
        """
        database = self._database

        def within(connection: Connection) -> tuple[Turned, tuple[Outgoing, ...]]:
            limit(connection, database.lock_timeout_s)
            turned, outgoing = work(connection)
            return turned, tuple(filter(None, stored(connection, database, outgoing)))

        with as_outage(database.name), limited(database.lock_timeout_s):
            async with database.engines.on_loop.begin() as connection:
                turned, leaving = await connection.run_sync(within)
        database.committed()
        ctx.outgoing += leaving
        self._count(turned, ctx)
        return turned

    def _count(self, turned: Turned, ctx: Context) -> None:
        instance = turned.instance
        if instance is not None and not turned.ignored and instance.progress.status is not turned.was:
            self._database.saga_changes[instance.saga, str(instance.progress.status)] += 1
            _tell(ctx, turned.was, instance)


def key_of(instance: Instance, action: Action) -> str:
    """Return the idempotency key of an action, which is also the id of its command."""
    return f"{instance.saga}/{instance.key}/{action}"


def _message(member: Any, instance: Instance, start: Start, ctx: Context) -> Outgoing:
    """Return the message that starts an action."""
    spec: SagaSpec = member.spec
    does, action = spec.action(start.action), start.action
    prepare = partial(ctx.delivery.preparer.event, extensions={"correlationid": instance.correlation_id})
    if isinstance(does, Send):
        command = does.event(member, spec.read_state(instance.state), instance.progress.reason)
        sent = prepare(command, None, 0.0, ctx, event_id=key_of(instance, action))
    else:
        call = SagaCall(instance.key, action.step, action.is_undo, start.attempt)
        sent = prepare(call, spec.topic, 0.0, ctx)
    if sent is None:
        raise RuntimeError(f"saga {spec.name}: an extension has kept the message of {action}")
    return sent


def _tell(ctx: Context, before: Status | None, instance: Instance) -> None:
    fields = {"saga": instance.saga, "key": instance.key}
    status = instance.progress.status
    if status is Status.NEEDS_ATTENTION:
        ctx.log.error("saga_needs_attention", **fields, reason=instance.progress.reason)
    elif before is not None:
        ctx.log.info("saga_changed", **fields, status=str(status))
