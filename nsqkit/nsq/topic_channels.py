"""Topic channels: the topic and all channels that an nsqd must have before a worker subscribes there."""

import contextlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.log import Log
from nsqkit.policy.registration import Pair, by_topic


class TopicAbsentError(ConnectionLostError):
    """An nsqd does not have a topic that nsqlookupd names it for, or that it had before."""


class TopicChannels:
    """Creates the channels that a worker consumes on one topic together, on an nsqd that has the topic.

    A topic's first channel takes the backlog, even if the others are subscribed a moment later. So a topic
    that has no channel yet is paused until all channels of the worker exist (ADR 0034). A topic that may not
    be created must be there: an operator may have deleted it, though nsqlookupd names the nsqd (ADR 0046).

    Args:
        pairs: The durable (topic, channel) pairs of the worker.
        timeout_s: Time limit of one request, in seconds above 0.
        log: Logger for failures.

    Source:
        nsqd/topic.go (messagePump), nsqd/http.go.
    """

    def __init__(self, pairs: Iterable[Pair], *, timeout_s: float, log: Log) -> None:
        self._channels = by_topic(pairs)
        self._timeout_s = timeout_s
        self._log = log
        self._failed: set[Pair] = set()  # HTTP address and topic
        self._paused: set[Pair] = set()
        self._n_paused = 0

    @property
    def pauses(self) -> int | None:
        """Number of topics that were paused for a moment so far; None while one is."""
        return None if self._paused else self._n_paused

    async def create(self, http_address: str, topic: str, *, may_create: bool) -> None:
        """Create the channels of a topic that are missing; a single one is left to SUB.

        If HTTP fails the caller may subscribe anyway. That is logged for several channels, once for each nsqd
        and topic.

        Args:
            http_address: ``host:port`` of nsqd's HTTP port.
            topic: The topic.
            may_create: Whether the topic is created, too.

        Raises:
            TopicAbsentError: If nsqd says that it does not have the topic, and it may not be created.
            ConnectionLostError: If the topic may be left paused. Call this again.
        """
        wanted = self._channels.get(topic, frozenset())
        is_shared = len(wanted) > 1
        if may_create and not is_shared:
            return
        key = (http_address, topic)
        http = NsqdHttp(http_address, self._timeout_s)
        try:
            await self._create(http, topic, wanted if is_shared else frozenset(), may_create=may_create)
            self._failed.discard(key)
        except TopicAbsentError:
            self._paused.discard(key)
            raise
        except (ConnectionLostError, RefusedError) as error:
            if key in self._paused:
                raise
            if is_shared and key not in self._failed:
                self._failed.add(key)
                hint = "the first channel takes the topic's backlog; give nsqd's HTTP ports with --nsqd-http"
                self._log.warning("channels_not_created", topic=topic, error=str(error), hint=hint)

    async def _create(self, http: NsqdHttp, topic: str, wanted: frozenset[str], *, may_create: bool) -> None:
        found = await http.read_stats(lambda stats: _topic_in(stats, topic), topic)
        if found is None:
            if not may_create:
                raise TopicAbsentError(http.address, f"it does not have topic {topic!r}")
            await http.create_topic(topic)
            found = _Topic(frozenset(), is_paused=False)
        is_ours = (http.address, topic) in self._paused
        missing = sorted(wanted - found.channels)
        if is_ours or (missing and not found.channels and not found.is_paused):
            await self._create_paused(http, topic, missing)
            return
        for channel in missing:
            await http.add_channel(topic, channel)

    async def _create_paused(self, http: NsqdHttp, topic: str, channels: Iterable[str]) -> None:
        key = (http.address, topic)
        self._paused.add(key)  # until it is certain that the topic is not paused
        self._n_paused += 1
        try:
            await http.pause_topic(topic)
            for channel in channels:
                await http.add_channel(topic, channel)
        finally:
            with contextlib.suppress(RefusedError):  # the topic was deleted meanwhile
                await http.unpause_topic(topic)
            self._paused.discard(key)


class _Topic(NamedTuple):
    """A topic of an nsqd: the names of its channels, and whether it is paused."""

    channels: frozenset[str]
    is_paused: bool


def _topic_in(stats: dict[str, Any], topic: str) -> _Topic | None:
    """Return a topic in the statistics of an nsqd; raise anything if these are no such statistics."""
    for each in stats["topics"] or ():
        if each["topic_name"] == topic:
            channels = frozenset(channel["channel_name"] for channel in each["channels"])
            return _Topic(channels, is_paused=bool(each["paused"]))
    return None
