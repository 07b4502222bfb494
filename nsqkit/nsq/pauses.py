"""Pauses: reads nsqd's statistics, and finds paused topics and channels. A failure changes nothing."""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from nsqkit.background import Background
from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.clock_skews import ClockSkews
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.log import Log
from nsqkit.policy.paused import Paused, paused_in
from nsqkit.policy.registration import Pair
from nsqkit.policy.retry import MAX_DELAY_S, Exponential
from nsqkit.policy.stall import ChannelCounts, channel_counts

ChannelsCounts = Mapping[Pair, ChannelCounts]
Polled = Mapping[str, ChannelsCounts]
"""What each nsqd that answered a poll says of the worker's channels, by its HTTP address."""

_FIRST_POLL_S = 1.0
_REQUESTS_AT_ONCE = 10


class Pauses:
    """Asks every nsqd for its statistics, often at first and then rarely, and logs changes.

    Args:
        subscribed: Every (topic, channel) of the worker.
        addresses: Returns ``host:port`` of the HTTP port of each nsqd to ask.
        poll_s: Seconds between two polls, with additive jitter; the first ones come sooner.
        timeout_s: Time limit of one request, in seconds above 0.
        on_poll: Called after each poll with what each nsqd that answered says of the worker's channels.
        own_pauses: Returns how often this worker has paused a topic for a moment; None while it does. What is
            read meanwhile is not reported.
        clocks: Measures the clocks of the same nsqd at each poll.
        log: Logger for the changes.
        background: Starts the tasks; by default one that only logs those that die.
    """

    def __init__(
        self,
        subscribed: Iterable[Pair],
        addresses: Callable[[], Iterable[str]],
        *,
        poll_s: float,
        timeout_s: float,
        on_poll: Callable[[Polled], None],
        own_pauses: Callable[[], int | None] = lambda: 0,
        clocks: ClockSkews | None = None,
        log: Log,
        background: Background | None = None,
    ) -> None:
        self._background = background or Background(log)
        self._subscribed = frozenset(subscribed)
        self._addresses = addresses
        self._poll_s = poll_s
        self._timeout_s = timeout_s
        self._on_poll = on_poll
        self._own_pauses = own_pauses
        self._clocks = clocks
        self._log = log
        self._found: dict[str, frozenset[Paused]] = {}
        self._poller: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to poll, and return at once."""
        self._poller = self._background.start(self._poll(), "pauses in nsqd")

    async def close(self) -> None:
        """Stop polling; may be called before start."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    def of(self, topics: Iterable[str], channel: str) -> tuple[str, ...] | None:
        """Return what keeps messages from a channel, as ``host:port topic`` or ``host:port topic/channel``.

        Args:
            topics: The topics on which a handler reads the channel.
            channel: The channel.

        Returns:
            One line for each; None if no nsqd has answered.
        """
        if not self._found:
            return None
        wanted = tuple(topics)
        return tuple(
            f"{address} {paused.name}"
            for address in sorted(self._found)
            for paused in sorted(self._found[address])
            if paused.stops(wanted, channel)
        )

    def is_paused(self, address: str, topics: Iterable[str], channel: str) -> bool | None:
        """Return whether an nsqd delivers nothing from a channel on one of its topics.

        Args:
            address: ``host:port`` of the HTTP port of the nsqd.
            topics: The topics on which a handler reads the channel.
            channel: The channel.

        Returns:
            None if the nsqd has never answered.
        """
        wanted = tuple(topics)
        found = self._found.get(address)
        return None if found is None else any(paused.stops(wanted, channel) for paused in found)

    async def _poll(self) -> None:
        growing = Exponential(base_s=min(_FIRST_POLL_S, self._poll_s), max_s=min(self._poll_s, MAX_DELAY_S))
        polls = 0
        while True:
            polls += 1
            await asyncio.sleep(growing.delay_s(polls, draw=random.random()))  # noqa: S311 - spreads load
            addresses = frozenset(self._addresses())
            for gone in self._found.keys() - addresses:
                del self._found[gone]
            slots = asyncio.Semaphore(_REQUESTS_AT_ONCE)
            answers = await asyncio.gather(*(self._ask(address, slots) for address in addresses))
            self._on_poll({each.address: each.counts for each in answers if each is not None})

    async def _ask(self, address: str, slots: asyncio.Semaphore) -> "_Answer | None":
        try:
            async with slots:
                if self._clocks is not None:
                    await self._clocks.measure(address)
                own = self._own_pauses()
                http = NsqdHttp(address, self._timeout_s)
                paused, counts = await http.read_stats(self._read)
        except (ConnectionLostError, RefusedError):
            return None
        if own is None or own != self._own_pauses():  # it may be the worker's own pause
            return None
        self._take(address, paused)
        return _Answer(address, counts)

    def _read(self, stats: Any) -> tuple[frozenset[Paused], ChannelsCounts]:
        return paused_in(stats, self._subscribed), channel_counts(stats, self._subscribed)

    def _take(self, address: str, paused: frozenset[Paused]) -> None:
        before = self._found.get(address, frozenset())
        self._found[address] = paused
        for each in sorted(paused - before):
            hint = "nothing is delivered until it is unpaused, in nsqadmin or with nsqkit resume"
            self._log.warning("paused_in_nsqd", nsqd=address, **_fields(each), hint=hint)
        for each in sorted(before - paused):
            self._log.info("unpaused_in_nsqd", nsqd=address, **_fields(each))


def _fields(paused: Paused) -> dict[str, str | None]:
    return {"topic": paused.topic, "channel": paused.channel or None}


class _Answer(NamedTuple):
    """What an nsqd says of the worker's channels."""

    address: str
    counts: ChannelsCounts
