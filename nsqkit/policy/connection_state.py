"""Connection state: the state of one handler's connections to one nsqd, in one word."""

from collections.abc import Set as AbstractSet
from enum import StrEnum


class ConnectionState(StrEnum):
    """The state of a handler's connections to an nsqd."""

    SUBSCRIBED = "subscribed"
    DISCONNECTED = "disconnected"
    TOPIC_ABSENT = "topic_absent"


def connection_state(
    wanted: AbstractSet[str], live: AbstractSet[str], absent: AbstractSet[str]
) -> ConnectionState:
    """Return the state of a handler's connections to an nsqd.

    Args:
        wanted: The topics to subscribe to there.
        live: The topics that are subscribed there.
        absent: The topics that the nsqd has last reported not to have.
    """
    missing = wanted - live
    if missing - absent:
        return ConnectionState.DISCONNECTED
    return ConnectionState.TOPIC_ABSENT if missing else ConnectionState.SUBSCRIBED
