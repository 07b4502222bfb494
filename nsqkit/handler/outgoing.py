"""Outgoing: messages to publish, and how events and raw bytes are turned into them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from nsqkit.errors import EncodeError
from nsqkit.events.codec.encoder import encode, type_of
from nsqkit.events.stamp import Stamp, stamp
from nsqkit.handler.publish_counts import count_published
from nsqkit.policy.names import topic_problem
from nsqkit.policy.retry import MAX_DELAY_S

if TYPE_CHECKING:
    from nsqkit.handler.context import Context

_NONE: Mapping[str, str] = MappingProxyType({})
Done = Callable[[BaseException | None], object]
"""Called with None once nsqd has confirmed a message, or with the error if it was not published."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish.

    Args:
        topic: Topic to publish to.
        body: The encoded bytes; 1 or more.
        defer_s: Seconds until nsqd delivers it; 0 or more.
        event: The event in the body; None for raw bytes.
        when_done: Functions to call once, when the publish is confirmed or has failed.
        is_stored: Whether an outbox has it, which publishes it later if it is not published now.
        at_s: Time before which an outbox keeps it, seconds since 1970 UTC; None for no such time.
    """

    topic: str
    body: bytes
    defer_s: float = 0.0
    event: object = field(default=None, compare=False)
    when_done: tuple[Done, ...] = field(default=(), compare=False, repr=False)
    is_stored: bool = field(default=False, compare=False)
    at_s: float | None = None

    def at(self, at: datetime) -> Self:
        """Return the message for an outbox that publishes it at a time.

        Args:
            at: The time, with a time zone; one in the past is now.

        Raises:
            EncodeError: If it has no time zone, or the message is deferred too.
        """
        if not isinstance(at, datetime) or at.tzinfo is None:  # type: ignore[redundant-expr]
            raise EncodeError(f"at={at!r} is not a time with a time zone, such as datetime.now(UTC)")
        if self.defer_s:
            raise EncodeError("at and defer_s are two delays of one event; give one of them")
        return replace(self, at_s=at.timestamp())

    def stored(self, when_done: Done) -> "Outgoing":
        """Return the message as an outbox has it; built field by field, as it is for each one.

        Args:
            when_done: A function more to call, when the publish is confirmed or has failed.
        """
        calls = (*self.when_done, when_done)
        return Outgoing(self.topic, self.body, self.defer_s, self.event, calls, True, self.at_s)  # noqa: FBT003

    def done(self, error: BaseException | None) -> None:
        """Call ``when_done`` with the result of the publish.

        Args:
            error: Why the message was not published; None if nsqd confirmed it.
        """
        for each in self.when_done:
            each(error)


async def reported(publish: Awaitable[None], outgoing: Sequence[Outgoing]) -> None:
    """Await a publish, then count its messages, and call their ``when_done`` with the result."""
    failure: BaseException | None = None
    try:
        await publish
    except BaseException as error:
        failure = error
        raise
    finally:
        for each in outgoing:
            count_published(each.topic, failure)
            each.done(failure)


@dataclass(slots=True)
class Publish:
    """A message about to be published, as extensions see it.

    Args:
        event: The event to publish; None for raw bytes.
        topic: Topic to publish to; None if neither the call nor ``@event`` names one.
        defer_s: Seconds until nsqd delivers it; 0 or more.
        ctx: Context of the handler that publishes; None in a ``Publisher``.
        body: The bytes of a raw message; None for an event, which is encoded afterwards.
        event_type: The event's wire type, such as ``order.created.v1``; None for raw bytes.
        stamp: Source, id and time of the event; None for raw bytes.
        nsqd: ``host:port`` of the nsqd that it is sent to; empty if that is not decided yet.
        attributes: Extension attributes of the event's envelope, to be changed and extended. A follow-up
            event has its ``causationid`` and ``correlationid`` already, and the ``requestid`` of its cause.

    Attributes:
        when_done: Functions to call with None once nsqd has confirmed the message, or with the error.
    """

    event: object
    topic: str | None
    defer_s: float
    ctx: "Context | None"
    body: bytes | None = None
    event_type: str | None = None
    stamp: Stamp | None = None
    nsqd: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    when_done: list[Done] = field(default_factory=list, init=False)


OnPublish = Callable[[Publish], Any]
"""A hook of an extension. The message is published unless the hook returns False."""


def caused_by(ctx: "Context") -> dict[str, str]:
    """Return the attributes that say which event a follow-up event comes from; empty after a bare body."""
    if not ctx.event_id:
        return {}
    caused = {"correlationid": ctx.correlation_id or ctx.event_id, "causationid": ctx.event_id}
    if b'"requestid"' in ctx.body and ctx.envelope is not None:  # few have it, and parsing costs
        request_id = ctx.envelope.extensions.get("requestid")
        if isinstance(request_id, str) and request_id:
            caused["requestid"] = request_id
    return caused


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparer:
    """Turns events and raw bytes into messages to publish.

    Args:
        source: The ``source`` of envelopes: the name of this service.
        max_msg_bytes: nsqd's max-msg-size, bytes.
        hooks: ``on_publish`` hooks of extensions, outermost first.
        nsqd: ``host:port`` of the only nsqd that a publisher uses; empty if there are several. The messages
            of a handler go to the nsqd that has delivered its message.
    """

    source: str
    max_msg_bytes: int
    hooks: Sequence[OnPublish] = ()
    nsqd: str = ""

    def event(
        self,
        event: object,
        topic: str | None,
        defer_s: float,
        ctx: "Context | None" = None,
        *,
        partition_key: str | None = None,
        sequence: str | None = None,
        event_id: str | None = None,
        extensions: Mapping[str, str] = _NONE,
        at: datetime | None = None,
    ) -> Outgoing | None:
        """Return the message for an event; None if an extension keeps it.

        Args:
            event: The event.
            topic: Topic to publish to; None for that of its ``@event``.
            defer_s: Seconds until nsqd delivers it.
            ctx: Context of the handler that publishes it.
            partition_key: Attribute ``partitionkey`` of its envelope; None for none.
            sequence: Attribute ``sequence`` of its envelope; None for none.
            event_id: Its id; None for a new one.
            extensions: Further attributes of its envelope, such as ``correlationid``.
            at: Time until which an outbox keeps it; None for no such time.

        Raises:
            EncodeError: If it is not an event, has no topic, or cannot be written as JSON; or if a partition
                key or a sequence is wrong, or the event has no envelope for it; or as of :meth:`Outgoing.at`.
        """
        attributes = caused_by(ctx) if ctx is not None else {}
        if partition_key is not None or sequence is not None:
            attributes |= _order_of(event, partition_key, sequence)
        if extensions:
            attributes.update(extensions)
        stamped = stamp(self.source)
        if event_id is not None:
            stamped = stamped._replace(event_id=event_id)
        if not self.hooks:
            outgoing = self._encoded(event, topic, defer_s, stamped, attributes=attributes)
            return outgoing if at is None else outgoing.at(at)
        known = type_of(event)
        publish = Publish(
            event,
            topic or known.topic,
            defer_s,
            ctx,
            event_type=known.wire_type,
            stamp=stamped,
            nsqd=self._nsqd(ctx),
            attributes=attributes,
        )
        if not self._may_publish(publish):
            return None
        attributes, when_done = publish.attributes, tuple(publish.when_done)
        outgoing = self._encoded(event, topic, defer_s, stamped, attributes=attributes, when_done=when_done)
        return outgoing if at is None else outgoing.at(at)

    def raw(self, topic: str, body: bytes, defer_s: float, ctx: "Context | None" = None) -> Outgoing | None:
        """Return the message for raw bytes; None if an extension keeps it.

        Raises:
            EncodeError: If the topic's name is not valid, the body is empty or too large, or *defer_s* is
                out of its range.
        """
        self._checked(Outgoing(topic, body, defer_s), "the message")
        return self.unchecked(topic, body, defer_s, ctx)

    def unchecked(
        self, topic: str, body: bytes, defer_s: float, ctx: "Context | None" = None
    ) -> Outgoing | None:
        """Return the message for raw bytes without checking them; None if an extension keeps it."""
        publish = Publish(None, topic, defer_s, ctx, body, nsqd=self._nsqd(ctx))
        if not self._may_publish(publish):
            return None
        return Outgoing(topic, body, defer_s, when_done=tuple(publish.when_done))

    def _nsqd(self, ctx: "Context | None") -> str:
        return self.nsqd if ctx is None else ctx.nsqd

    def _may_publish(self, publish: Publish) -> bool:
        answers = [hook(publish) for hook in self.hooks]  # all hooks run, even if one keeps the message
        return False not in answers

    def _encoded(
        self,
        event: object,
        topic: str | None,
        defer_s: float,
        stamped: Stamp,
        *,
        attributes: Mapping[str, str],
        when_done: tuple[Done, ...] = (),
    ) -> Outgoing:
        known, body = encode(event, stamped, extensions=attributes, max_bytes=self.max_msg_bytes)
        target = topic or known.topic
        if target is None:
            raise EncodeError(f"{known.wire_type} has no topic; add one to its @event, or give topic=…")
        return self._checked(Outgoing(target, body, defer_s, event, when_done), known.wire_type)

    def _checked(self, outgoing: Outgoing, name: str) -> Outgoing:
        if problem := topic_problem(outgoing.topic):
            raise EncodeError(problem)
        if not 0 <= outgoing.defer_s <= MAX_DELAY_S:
            longer = "; for longer, store the event in an outbox with at=…" if outgoing.defer_s > 0 else ""
            raise EncodeError(f"defer_s={outgoing.defer_s!r} is not in 0..{MAX_DELAY_S:g} seconds{longer}")
        if not outgoing.body:
            raise EncodeError(f"{name} is empty; nsqd takes messages of 1 byte or more")
        if len(outgoing.body) > self.max_msg_bytes:
            raise EncodeError(f"{name} has {len(outgoing.body)} bytes; nsqd takes {self.max_msg_bytes}")
        return outgoing


def _order_of(event: object, partition_key: str | None, sequence: str | None) -> dict[str, str]:
    """Return the attributes by which a consumer refuses stale events, as they were given."""
    given = {"partitionkey": partition_key, "sequence": sequence}
    attributes = {name: value for name, value in given.items() if value is not None}
    known = type_of(event)
    if not known.is_enveloped:
        raise EncodeError(f"{known.wire_type} has no envelope for {' and '.join(attributes)}")
    for name, value in attributes.items():
        if not isinstance(value, str) or not value:  # type: ignore[redundant-expr]
            raise EncodeError(f"{name}={value!r} of {known.wire_type}: give a text that is not empty")
    return attributes
