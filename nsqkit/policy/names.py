"""Topic and channel names: check them, and derive the names of dead-letter and retry topics.

Source:
    nsqd accepts ``^[.a-zA-Z0-9_-]+(#ephemeral)?$`` of 1 to 64 characters (internal/protocol/names.go).
"""

import hashlib
import re

EPHEMERAL = "#ephemeral"
MAX_LENGTH = 64
_VALID = re.compile(r"[.a-zA-Z0-9_-]+(#ephemeral)?")
_PREFIX_LENGTH = 40
_DIGEST_LENGTH = 12


def name_problem(kind: str, name: str) -> str | None:
    """Return the reason why nsqd refuses a name, or None if nsqd accepts it.

    Args:
        kind: ``"topic"`` or ``"channel"``, for the text.
        name: The name to check.
    """
    if not name:
        return f"{kind} name is empty"
    if len(name) > MAX_LENGTH:
        return f"{kind} name {name!r} has {len(name)} characters; NSQ allows {MAX_LENGTH}"
    if not _VALID.fullmatch(name):
        return f"{kind} name {name!r} has characters outside A-Z a-z 0-9 . _ - (and a final #ephemeral)"
    return None


def topic_problem(name: str) -> str | None:
    """Return the reason why nsqd refuses a topic name, or None if nsqd accepts it."""
    return name_problem("topic", name)


def channel_problem(name: str) -> str | None:
    """Return the reason why nsqd refuses a channel name, or None if nsqd accepts it."""
    return name_problem("channel", name)


def is_ephemeral(name: str) -> bool:
    """Return whether nsqd deletes this topic or channel when its last client leaves."""
    return name.endswith(EPHEMERAL)


def dead_topic(topic: str, channel: str) -> str:
    """Return the topic for the dead letters of one topic and channel."""
    return _derived(topic, channel, "dead")


def retry_topic(topic: str, channel: str) -> str:
    """Return the topic to replay to: its messages reach only this topic and channel's handler."""
    return _derived(topic, channel, "retry")


def subscribed_topics(topic: str, channel: str, *, with_retry: bool) -> tuple[str, ...]:
    """Return the topics that a handler subscribes to: its topic, and the ``.retry`` topic for replays.

    Args:
        topic: The handler's topic.
        channel: The handler's channel.
        with_retry: Whether dead letters can be replayed to the handler.
    """
    return (topic, retry_topic(topic, channel)) if with_retry else (topic,)


def _derived(topic: str, channel: str, suffix: str) -> str:
    plain = f"{topic}.{channel}.{suffix}"
    ambiguous = "." in channel or is_ephemeral(topic) or is_ephemeral(channel)
    if not ambiguous and len(plain) <= MAX_LENGTH:
        return plain
    digest = hashlib.sha256(f"{topic}\0{channel}".encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{topic.removesuffix(EPHEMERAL)[:_PREFIX_LENGTH]}.{digest}.{suffix}"
