"""Prepare: an event to the bytes and the topic that it is published with. No I/O."""

from nsqkit.errors import EncodeError
from nsqkit.events.codec import encode
from nsqkit.events.stamp import stamp
from nsqkit.handler.context import Outgoing, Prepare
from nsqkit.policy.names import topic_problem
from nsqkit.policy.retry import MAX_DELAY_S


def preparer(source: str, max_msg_bytes: int) -> Prepare:
    """Return a function that encodes an event for its topic.

    Args:
        source: The ``source`` of its envelope: the name of this service.
        max_msg_bytes: nsqd's max-msg-size.
    """

    def prepare(event: object, topic: str | None, defer_s: float) -> Outgoing:
        known, body = encode(event, stamp(source))
        target = topic or known.topic
        if target is None:
            raise EncodeError(f"{known.wire_type} has no topic; add one to its @event, or give topic=…")
        if problem := topic_problem(target):
            raise EncodeError(problem)
        if not 0 <= defer_s <= MAX_DELAY_S:
            raise EncodeError(f"defer_s={defer_s!r} is not in 0..{MAX_DELAY_S:g} seconds")
        if len(body) > max_msg_bytes:
            raise EncodeError(f"{known.wire_type} has {len(body)} bytes; nsqd takes {max_msg_bytes}")
        return Outgoing(target, body, defer_s)

    return prepare
