"""Handlers: the handler classes of a saga. Through them, events reach its instances like any other event."""

import asyncio
import functools
import types
import typing
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final, Union

from nsqkit.events.types import REGISTRY
from nsqkit.handler.context import Context
from nsqkit.handler.handler import AnyHandler, Handler
from nsqkit.handler.resources import Resource
from nsqkit.policy import saga as policy
from nsqkit.policy.outcome import Discard, Outcome, Requeue
from nsqkit.policy.redaction import describe
from nsqkit.policy.saga_terms import (
    Action,
    Claimed,
    Compensate,
    Due,
    Event,
    Failed,
    Refused,
    Resume,
    Succeeded,
)
from nsqkit.settings.settings import Settings
from nsqkit.sql.locks import LockedError
from nsqkit.sql.saga.events import SagaCall, SagaSignal
from nsqkit.sql.saga.spec import SagaSpec
from nsqkit.sql.saga.steps import Call, CallContext
from nsqkit.sql.saga.steps import Refused as Refusal
from nsqkit.sql.saga.store import Instance
from nsqkit.sql.saga.turn import Members, Turns, key_of

if TYPE_CHECKING:
    from nsqkit.sql.saga.saga import Saga

NEWER_S: Final = 30.0
"""Seconds until an event of an instance that a newer version has started is tried again."""
_CALL_MARGIN_S: Final = 20.0


def handlers_of(saga: "type[Saga[Any]]") -> tuple[type[AnyHandler[Any]], ...]:
    """Return the handlers of a saga: one for its own messages, and one for each topic with replies.

    Args:
        saga: The class of its newest version.
    """
    turns, versions = _turns(saga.spec), saga.versions.values()
    starts = [each.spec.start for each in versions]
    calls = [does for each in versions for does in _calls(each.spec)]
    longest_s = max((call.timeout_s for call in calls), default=10.0)
    own = _handler(
        saga,
        saga.spec.name,
        [*starts, SagaSignal, SagaCall],
        functools.partial(_handle_own, turns),
        topic=saga.spec.topic,
        timeout_s=longest_s + _CALL_MARGIN_S,
        on_unknown="requeue",
        uses=[turns],
    )
    replies: dict[str, list[type[Any]]] = {}
    for model in dict.fromkeys(model for each in versions for model in each.spec.replies):
        replies.setdefault(str(REGISTRY.of(model).topic), []).append(model)
    reply = functools.partial(_handle_reply, turns)
    return (
        own,
        *(
            _handler(saga, f"{saga.spec.name}.{topic}", models, reply, on_unknown="discard", uses=[turns])
            for topic, models in replies.items()
        ),
    )


def _calls(spec: SagaSpec) -> list[Call]:
    every = (does for step in spec.steps for does in (step.action, step.undo))
    return [does for does in every if isinstance(does, Call)]


def _turns(spec: SagaSpec) -> Resource[Turns]:
    async def turns(database: Any, settings: Settings) -> AsyncIterator[Turns]:
        yield Turns(database, settings.service)

    found: Resource[Turns] = spec.database.of_message(turns, f"saga.{spec.name}", spec.database.opened)
    return found


def _handler(
    saga: "type[Saga[Any]]",
    name: str,
    models: list[type[Any]],
    handle: Callable[[Members, Any, Context], typing.Awaitable[Outcome | None]],
    **options: Any,
) -> type[AnyHandler[Any]]:
    """Return a handler class whose instance has an object of each version of a saga."""

    def __init__(self: Any, *args: Any, **resources: Any) -> None:  # noqa: N807 - it becomes a method
        self.members = {version: each(*args, **resources) for version, each in saga.versions.items()}

    async def handle_(self: Any, event: Any, ctx: Context) -> Outcome | None:
        try:
            return await handle(self.members, event, ctx)
        except LockedError:
            return Requeue()

    def body(namespace: dict[str, Any]) -> None:
        made = saga.__init__ is not object.__init__
        init = functools.wraps(saga.__init__)(__init__) if made else _without_resources(saga)
        namespace |= {"__module__": saga.__module__, "__orig_bases__": bases, "__doc__": saga.__doc__}
        namespace |= {"__init__": init, "handle": handle_, "group": saga}

    bases = (Handler[Union[tuple(models)]],)  # type: ignore[misc] # noqa: UP007 - made of a list
    keywords = {"name": name, "channel": saga.spec.channel, **options}
    return types.new_class(saga.__name__, types.resolve_bases(bases), keywords, body)


def _without_resources(saga: "type[Saga[Any]]") -> Callable[[Any], None]:
    def __init__(self: Any) -> None:  # noqa: N807 - it becomes a method
        self.members = {version: each() for version, each in saga.versions.items()}

    return __init__


async def _handle_reply(turns: Resource[Turns], members: Members, event: Any, ctx: Context) -> Outcome | None:
    """Apply a reply to the instance with its ``correlationid``."""

    def read(member: Any, instance: Instance) -> tuple[Event, Any] | str:
        reply = member.spec.replies.get(type(event))
        if reply is None:
            return "unknown"
        if ignored := policy.ignores(member.spec.plan, instance.progress, reply.action):
            return ignored
        result = reply.function(member, member.spec.read_state(instance.state), event)
        return _answer(reply.action, result, None, REGISTRY.of(type(event)).wire_type)

    if not ctx.correlation_id:
        return Discard("unknown reply: it has no correlationid")
    turned = await ctx.resource(turns).apply(members, ctx, read, correlation_id=ctx.correlation_id)
    if turned.ignored == "newer":
        return Requeue(NEWER_S)
    return Discard(f"{turned.ignored} reply") if turned.ignored else None


async def _handle_own(turns: Resource[Turns], members: Members, event: Any, ctx: Context) -> Outcome | None:
    """Start an instance, let it look at its time, or make one of its calls."""
    within = ctx.resource(turns)
    if isinstance(event, SagaCall):
        return await _call(within, members, event, ctx)
    if isinstance(event, SagaSignal):
        return await _signalled(within, members, event, ctx)
    turned = await within.begin(members, ctx, event)
    return Discard("double start") if turned.ignored else None


async def _signalled(turns: Turns, members: Members, event: SagaSignal, ctx: Context) -> Outcome | None:
    signals: dict[str, Event] = {
        "due": Due(),
        "resume": Resume(),
        "compensate": Compensate(event.reason or "asked for by a person"),
    }

    def read(_member: Any, _instance: Instance) -> tuple[Event, Any]:
        return signals[event.signal], None

    turned = await turns.apply(members, ctx, read, key=event.key)
    if turned.ignored == "newer":
        return Requeue(NEWER_S)
    if turned.ignored == "claimed" and turned.instance is not None:
        return await _after_lease(turns, members, turned.instance, ctx) or Requeue(0.0)
    return Discard(f"{turned.ignored} {event.signal}") if turned.ignored else None


async def _call(turns: Turns, members: Members, event: SagaCall, ctx: Context) -> Outcome | None:
    """Claim a call, make it outside of a transaction, and store its result."""
    action = Action(event.step, event.is_undo)

    def claim(member: Any, _instance: Instance) -> tuple[Event, Any] | str:
        if not isinstance(member.spec.action(action), Call):
            return "unknown"
        return Claimed(action, event.attempt), None

    turned = await turns.apply(members, ctx, claim, key=event.key)
    if turned.ignored == "newer":
        return Requeue(NEWER_S)
    claimed = turned.instance
    if turned.ignored == "claimed" and claimed is not None:
        return await _after_lease(turns, members, claimed, ctx)
    if turned.ignored or claimed is None or not claimed.progress.is_claimed:
        return Discard(f"{turned.ignored or 'stranded'} call")
    result = await _result(members[claimed.version], claimed, action, event.attempt)

    def read(_member: Any, instance: Instance) -> tuple[Event, Any] | str:
        return result if instance.epoch == claimed.epoch else "late"

    ended = await turns.apply(members, ctx, read, key=event.key)
    return Discard(f"{ended.ignored} result of a call") if ended.ignored else None


async def _after_lease(turns: Turns, members: Members, claimed: Instance, ctx: Context) -> Outcome | None:
    """Wait for the lease of a worker that may have died; once it is over, treat its call as failed."""
    wait_s = (claimed.progress.due_s or 0.0) - turns.now_s
    if wait_s > 0:
        return Requeue(wait_s)
    await turns.apply(members, ctx, lambda _member, _instance: (Due(), None), key=claimed.key)
    return None


async def _result(member: Any, instance: Instance, action: Action, attempt: int) -> tuple[Event, Any]:
    """Make a call, and return what happened and the new state."""
    spec: SagaSpec = member.spec
    does: Call = spec.action(action)  # type: ignore[assignment] # it was a call when it was claimed
    reason = instance.progress.reason
    call = CallContext(key_of(instance, action), attempt, instance.correlation_id, reason)
    try:
        async with asyncio.timeout(does.timeout_s):
            result = await does.function(member, spec.read_state(instance.state), call)
        if not (result is None or isinstance(result, Refusal)):
            spec.write_state(result)
    except Exception as error:  # noqa: BLE001 - a team's call may raise anything
        is_ours = isinstance(error, TimeoutError) and not str(error)
        reason = f"longer than {does.timeout_s:g} s" if is_ours else describe(error)
        return Failed(action, reason, attempt, does.retry.retries(error)), None
    return _answer(action, result, attempt)


def _answer(action: Action, result: Any, attempt: int | None, reply: str = "") -> tuple[Event, Any]:
    if isinstance(result, Refusal):
        return Refused(action, result.reason, attempt, reply), None
    return Succeeded(action, attempt, reply), result
