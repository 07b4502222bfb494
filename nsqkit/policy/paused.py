"""Paused: find the paused topics and channels in the statistics of an nsqd."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from nsqkit.policy.registration import Pair, by_topic


class Paused(NamedTuple):
    """A paused topic, or a paused channel of a topic.

    Args:
        topic: The topic's name.
        channel: The channel's name; empty if the whole topic is paused.
    """

    topic: str
    channel: str = ""

    @property
    def name(self) -> str:
        """``topic``, or ``topic/channel``."""
        return "/".join(filter(None, self))

    def stops(self, topics: Iterable[str], channel: str) -> bool:
        """Return whether this keeps messages from a channel on any of its topics."""
        return self.topic in topics and self.channel in {"", channel}


def paused_in(stats: Mapping[str, Any], subscribed: Iterable[Pair]) -> frozenset[Paused]:
    """Return what is paused, of the topics and channels that a worker consumes.

    Args:
        stats: The JSON object of nsqd's ``/stats``.
        subscribed: Every (topic, channel) of the worker.

    Raises:
        LookupError: If *stats* has another form.
        TypeError: If *stats* has another form.
    """
    return frozenset(_paused(stats, by_topic(subscribed)))


def _paused(stats: Mapping[str, Any], wanted: Mapping[str, frozenset[str]]) -> Iterator[Paused]:
    for topic in stats["topics"] or ():
        name = topic["topic_name"]
        channels = wanted.get(name, frozenset())
        if channels and topic["paused"]:
            yield Paused(name)
        for channel in topic["channels"]:
            if channel["channel_name"] in channels and channel["paused"]:
                yield Paused(name, channel["channel_name"])
