"""Agreement: whether the counts of workers are all that nsqd has counted, and who else reads a channel."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from nsqkit.policy.peer_text import peer_text

LEAST_S: Final = 30
"""Seconds between two readings that are compared."""
MOST_S: Final = 600
MOST_NAMES: Final = 5
_LEAST_DIFFERENCE: Final = 10
_LEAST_RATIO: Final = 0.1  # the two counts are read at slightly different moments


class Client(NamedTuple):
    """A consumer of a channel, as nsqd describes it.

    Args:
        hostname: Its host.
        client_id: Its id.
        user_agent: Its program.
    """

    hostname: str
    client_id: str
    user_agent: str


class Reading(NamedTuple):
    """What all nsqd say of the channel of a handler.

    Args:
        second: When they were asked.
        returned: Messages that came back so far, by nsqd and topic.
        others: The consumers that are not of these workers.
    """

    second: int
    returned: Mapping[tuple[str, str], int]
    others: tuple[str, ...]


class Difference(NamedTuple):
    """Counts that differ.

    Args:
        seconds: The time that they are of.
        nsqd: Messages that came back, by nsqd's counts.
        here: Messages that came back, by the workers' own counts.
    """

    seconds: int
    nsqd: int
    here: int


def channel_reading(
    stats: Mapping[str, Any], topic: str, channel: str
) -> tuple[int, tuple[Client, ...]] | None:
    """Return how many messages of a channel came back, and its consumers; None if nsqd does not have it.

    Args:
        stats: The JSON object of nsqd's ``/stats``, with clients.
        topic: The topic.
        channel: The channel.

    Raises:
        LookupError: If *stats* has another form.
        TypeError: If *stats* has another form.

    Source:
        nsqd/stats.go (ChannelStats, ClientV2Stats).
    """
    for found in (each for each in stats["topics"] or () if each["topic_name"] == topic):
        for each in found["channels"] or ():
            if each["channel_name"] == channel:
                clients = tuple(map(_client, each.get("clients") or ()))
                return each["requeue_count"] + each["timeout_count"], clients
    return None


def others_of(clients: Iterable[Client], own: Client, workers: int) -> tuple[str, ...]:
    """Return the names of the consumers that are not of these workers, a few at most.

    Args:
        clients: All consumers of a channel in one nsqd.
        own: How nsqd describes these workers.
        workers: How many of them there are; each has one connection. nsqd cannot tell them from workers of
            another process with the same description.
    """
    counts = Counter(clients)
    counts[own] -= workers
    names = [_name(client, count) for client, count in sorted(counts.items()) if count > 0]
    left = len(names) - MOST_NAMES
    return (*names[:MOST_NAMES], f"{left} more") if left > 0 else tuple(names)


def returned_between(before: Reading, after: Reading) -> int | None:
    """Return how many messages came back between two readings; None if that is not known.

    It is not known if an nsqd answered only one of them, or has restarted.
    """
    if before.returned.keys() != after.returned.keys():
        return None
    differences = [after.returned[place] - count for place, count in before.returned.items()]
    return None if min(differences, default=-1) < 0 else sum(differences)


def differs(here: int, nsqd: int) -> bool:
    """Return whether counts of the same time differ by more than the moments at which they were read."""
    return abs(here - nsqd) > max(_LEAST_DIFFERENCE, _LEAST_RATIO * max(here, nsqd))


def _client(client: Mapping[str, Any]) -> Client:
    return Client(*(peer_text(str(client.get(key, ""))) for key in Client._fields))


def _name(client: Client, count: int) -> str:
    host = client.hostname or client.client_id or "unknown"
    is_plain = client.client_id in {"", host, host.partition(".")[0]}
    name = host if is_plain else f"{host} ({client.client_id})"
    return f"{name}, {count} times" if count > 1 else name
