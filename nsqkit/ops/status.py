"""Status: what every nsqd reports about the topics and channels of some handlers. It changes nothing."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from nsqkit.errors import NsqkitError, SettingsError
from nsqkit.handler.spec import HandlerSpec
from nsqkit.nsq.http import NsqdHttp, listed
from nsqkit.nsq.nodes import http_addresses, looked_up
from nsqkit.policy.registration import Pair
from nsqkit.settings.settings import Settings

Paused = Literal["topic", "channel", "no"]
_REQUESTS_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class NsqdChannel:
    """A channel in one nsqd.

    Args:
        nsqd: ``host:port`` of the HTTP port of the nsqd.
        topic_depth: Messages that wait in the topic, because it is paused or has no channel.
        depth: Messages that wait in the channel.
        in_flight: Messages that a consumer has not answered yet.
        deferred: Messages whose delay is not over.
        clients: Consumers of the channel.
        paused: Whether the topic, the channel or nothing is paused; a paused topic stops all its channels.
        is_missing: Whether the nsqd has the topic, but not the channel.
    """

    nsqd: str
    topic_depth: int
    depth: int
    in_flight: int
    deferred: int
    clients: int
    paused: Paused
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """A channel of a handler, in all nsqd that have its topic.

    Args:
        handler: Name of the handler class.
        topic: The topic; a handler also reads its ``.retry`` topic.
        channel: The channel.
        nsqd: The channel in each nsqd that has the topic, by address.
    """

    handler: str
    topic: str
    channel: str
    nsqd: tuple[NsqdChannel, ...]

    def total(self, field: str) -> int:
        """Return the sum of a count over all nsqd, such as ``depth``."""
        return sum(getattr(each, field) for each in self.nsqd)


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The channels of some handlers.

    Args:
        channels: One for each handler and topic, in the order of the handlers.
        asked: HTTP addresses of the nsqd that answered.
        problems: Why figures may be missing, one line each.
    """

    channels: tuple[ChannelStatus, ...]
    asked: tuple[str, ...]
    problems: tuple[str, ...]


def status(specs: Sequence[HandlerSpec], settings: Settings) -> StatusReport:
    """Return the channels of handlers as every nsqd in the settings, or known to nsqlookupd, reports them.

    It runs an event loop.

    Raises:
        SettingsError: If the settings name no nsqd and no nsqlookupd.
    """
    if not (settings.nsqd or settings.nsqd_http or settings.lookupd):
        raise SettingsError("which nsqd? give --nsqd HOST:4150, --nsqd-http HOST:4151 or --lookupd HOST:4161")
    return asyncio.run(_status(specs, settings))


async def _status(specs: Sequence[HandlerSpec], settings: Settings) -> StatusReport:
    known = await looked_up(settings)
    problems = list(known.problems)
    addresses = await http_addresses(settings, known)
    if not (addresses or problems):
        problems.append(f"nsqlookupd {' and '.join(settings.lookupd)} knows no nsqd")
    wanted = frozenset((topic, spec.channel) for spec in specs for topic in spec.topics)
    slots = asyncio.Semaphore(_REQUESTS_AT_ONCE)
    answers = await asyncio.gather(*(_ask(address, wanted, settings, slots) for address in addresses))
    problems += [str(answer) for answer in answers if isinstance(answer, NsqkitError)]
    found = [answer for answer in answers if isinstance(answer, dict)]
    channels = tuple(
        ChannelStatus(
            spec.name,
            topic,
            spec.channel,
            tuple(answer[topic, spec.channel] for answer in found if (topic, spec.channel) in answer),
        )
        for spec in specs
        for topic in spec.topics
    )
    asked = (address for address, answer in zip(addresses, answers, strict=True) if isinstance(answer, dict))
    return StatusReport(channels, tuple(asked), tuple(problems))


async def _ask(
    address: str, wanted: frozenset[Pair], settings: Settings, slots: asyncio.Semaphore
) -> dict[Pair, NsqdChannel] | NsqkitError:
    http = NsqdHttp(address, settings.connect_timeout_s)
    try:
        async with slots:
            return await http.read_stats(lambda stats: dict(_channels(address, stats, wanted)))
    except NsqkitError as error:
        return error


def _channels(
    address: str, stats: dict[str, Any], wanted: frozenset[Pair]
) -> Iterator[tuple[Pair, NsqdChannel]]:
    """Yield the wanted channels of the topics that an nsqd has; raise anything if these are no statistics."""
    topics = {topic["topic_name"]: topic for topic in listed(stats["topics"])}
    for pair in wanted:
        if (topic := topics.get(pair[0])) is None:
            continue
        channels = {channel["channel_name"]: channel for channel in listed(topic["channels"])}
        yield pair, _channel(address, topic, channels.get(pair[1]))


def _channel(address: str, topic: dict[str, Any], channel: dict[str, Any] | None) -> NsqdChannel:
    is_missing = channel is None
    counts = channel or {}
    paused: Paused = "topic" if topic["paused"] else "channel" if counts.get("paused") else "no"
    depth, in_flight, deferred, clients = (
        0 if is_missing else int(counts[name])
        for name in ("depth", "in_flight_count", "deferred_count", "client_count")
    )
    topic_depth = int(topic["depth"])
    return NsqdChannel(address, topic_depth, depth, in_flight, deferred, clients, paused, is_missing)
