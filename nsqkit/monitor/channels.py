"""Channels: what all nsqd say of the handlers' channels, read while somebody looks. It logs no failure."""

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from nsqkit.errors import NsqkitError
from nsqkit.monitor.track import Track
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.nodes import http_addresses
from nsqkit.policy.agreement import (
    LEAST_S,
    MOST_S,
    Client,
    Difference,
    Reading,
    channel_reading,
    differs,
    others_of,
    returned_between,
)
from nsqkit.policy.names import subscribed_topics
from nsqkit.settings.settings import Settings
from nsqkit.telemetry.metrics import Labels

_REQUESTS_AT_ONCE: Final = 10

Found = tuple[int, tuple[Client, ...]]
Answer = dict[str, Found | None]


class Channels:
    """The readings of each handler's channel, two at most.

    Args:
        settings: Returns the settings with the addresses of nsqd and nsqlookupd.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._last: dict[Labels, Reading] = {}
        self._before: dict[Labels, Reading] = {}
        self._due = 0

    def take_turn(self, second: int) -> bool:
        """Return whether to read now; True at most once in 30 seconds."""
        if second < self._due:
            return False
        self._due = second + LEAST_S
        return True

    async def read(self, handlers: Iterable[Labels], workers: int, now_s: Callable[[], float]) -> None:
        """Ask all nsqd for the channels of handlers.

        Args:
            handlers: Topic, channel and name of each.
            workers: How many workers have these handlers.
            now_s: The clock of the history.
        """
        settings = self._settings()
        host = socket.gethostname()
        own = Client(host, host.partition(".")[0], f"nsqkit/{settings.service}")
        wanted = {labels: subscribed_topics(*labels[:2], with_retry=True) for labels in handlers}
        channels: dict[str, set[str]] = {}
        for labels, topics in wanted.items():
            for topic in topics:
                channels.setdefault(topic, set()).add(labels[1])
        found = await self._ask_all(channels)
        second = int(now_s())
        for labels, topics in wanted.items():
            known = {place: found[place][labels[1]] for place in found if place[1] in topics}
            self._take(
                labels, _reading(second, {place: each for place, each in known.items() if each}, own, workers)
            )

    def shown(self, labels: Labels, track: Track) -> dict[str, Any]:
        """Return who else reads a handler's channel, and the counts that differ, as JSON."""
        last, before = self._last.get(labels), self._before.get(labels)
        found = None if last is None or before is None else _difference(before, last, track)
        return {
            "other_workers": [] if last is None else list(last.others),
            "nsqd_counts": None if found is None else found._asdict(),
        }

    def _take(self, labels: Labels, reading: Reading) -> None:
        last = self._last.get(labels)
        if last is not None:
            self._before[labels] = last
        self._last[labels] = reading

    async def _ask_all(self, channels: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], Answer]:
        """Return what each nsqd that answers says of the channels of a topic, by nsqd and topic."""
        settings = self._settings()
        try:
            addresses = await http_addresses(settings)
        except NsqkitError:
            return {}
        slots = asyncio.Semaphore(_REQUESTS_AT_ONCE)
        places = [(address, topic) for address in addresses for topic in channels]

        async def ask(address: str, topic: str) -> Answer | None:
            try:
                async with slots:
                    http = NsqdHttp(address, settings.connect_timeout_s)
                    return await http.read_stats(
                        partial(_answer, topic, channels[topic]), topic, with_clients=True
                    )
            except NsqkitError:
                return None

        answers = await asyncio.gather(*(ask(*place) for place in places))
        return {place: answer for place, answer in zip(places, answers, strict=True) if answer is not None}


def _answer(topic: str, channels: Iterable[str], stats: Any) -> Answer:
    return {channel: channel_reading(stats, topic, channel) for channel in channels}


def _reading(second: int, found: Mapping[tuple[str, str], Found], own: Client, workers: int) -> Reading:
    others = dict.fromkeys(name for _, clients in found.values() for name in others_of(clients, own, workers))
    return Reading(second, {place: returned for place, (returned, _) in found.items()}, tuple(others))


def _difference(before: Reading, after: Reading, track: Track) -> Difference | None:
    seconds = after.second - before.second
    nsqd = returned_between(before, after)
    if nsqd is None or not LEAST_S <= seconds <= MOST_S:
        return None
    here = sum(track.requeued.last(after.second, seconds))
    return Difference(seconds, nsqd, here) if differs(here, nsqd) else None
