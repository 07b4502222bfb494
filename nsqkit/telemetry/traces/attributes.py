"""Attributes: what a span says of a message, by the conventions."""

from collections.abc import Sequence
from typing import Any

from nsqkit.events.codec.envelope import SPEC_VERSION
from nsqkit.handler.batch import Delivery
from nsqkit.handler.context import Context
from nsqkit.handler.outgoing import Publish
from nsqkit.policy.address import split_address
from nsqkit.policy.peer_text import peer_text
from nsqkit.telemetry.traces import conventions as names

Attributes = dict[str, str | int]


def of_message(ctx: Context) -> Attributes:
    """Return the attributes of the span in which one message is processed."""
    found = _processing(ctx) | {names.MESSAGE_ID: ctx.message_id, names.ATTEMPTS: ctx.attempts}
    envelope = ctx.envelope
    if envelope is None:
        return found
    said = {
        names.CONVERSATION_ID: ctx.correlation_id,
        names.EVENT_ID: envelope.id,
        names.EVENT_SOURCE: envelope.source,
        names.EVENT_TYPE: envelope.type,
        names.EVENT_SUBJECT: envelope.subject,
    }
    texts = {name: peer_text(text) for name, text in said.items() if text}
    return {**found, **texts, names.EVENT_SPEC_VERSION: SPEC_VERSION}


def of_batch(batch: Sequence[Delivery[Any]]) -> Attributes:
    """Return the attributes of the span in which a batch is processed."""
    found = _processing(batch[0].ctx) | {names.MESSAGE_COUNT: len(batch)}
    if len({each.ctx.nsqd for each in batch}) > 1:
        return {name: value for name, value in found.items() if not name.startswith("server.")}
    return found


def of_publish(publish: Publish) -> Attributes:
    """Return the attributes of the span in which a message is published."""
    found = {**_operation("send"), **_server(publish.nsqd)}
    if publish.topic:
        found[names.DESTINATION] = publish.topic
    if flow := publish.attributes.get("correlationid"):
        found[names.CONVERSATION_ID] = peer_text(flow)
    if publish.stamp is not None and publish.event_type is not None:
        found |= {
            names.EVENT_ID: publish.stamp.event_id,
            names.EVENT_SOURCE: publish.stamp.source,
            names.EVENT_TYPE: publish.event_type,
            names.EVENT_SPEC_VERSION: SPEC_VERSION,
        }
    return found


def of_hop(topic: str) -> Attributes:
    """Return the attributes of the span of a message that a bridge has published."""
    return {**_operation("send"), names.DESTINATION: topic}


def _processing(ctx: Context) -> Attributes:
    return {
        **_operation("process"),
        names.DESTINATION: ctx.topic,
        names.SUBSCRIPTION: ctx.channel,
        **_server(ctx.nsqd),
    }


def _operation(name: str) -> Attributes:
    return {names.SYSTEM: "nsq", names.OPERATION_NAME: name, names.OPERATION_TYPE: name}


def _server(address: str) -> Attributes:
    if not address:
        return {}
    host, port = split_address(address)
    return {names.SERVER_ADDRESS: host, names.SERVER_PORT: port}
