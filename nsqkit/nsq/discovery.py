"""Discovery: find the nsqd of a consumer, from the settings and from nsqlookupd.

It opens no connection to nsqd.
"""

import asyncio
import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from nsqkit.background import Background
from nsqkit.errors import NsqkitError
from nsqkit.nsq.log import Log
from nsqkit.nsq.lookup import Lookup, LookupResult
from nsqkit.nsq.topic_channels import TopicAbsentError
from nsqkit.policy.address import split_address
from nsqkit.policy.new_faults import NewFaults
from nsqkit.policy.retry import MAX_DELAY_S, Exponential
from nsqkit.program import is_set_within

_FIRST_POLL_S = 0.2
_POLL_JITTER = 0.3
_QUICK_POLL_S = 1.0
"""Longest time between two polls after a loss, in seconds: the nsqd may return at another address."""
_QUICK_FOR_S = 60.0
_FRESH_S = 0.1
"""An answer of nsqlookupd that is younger is not asked for again, in seconds."""
_MOST_NSQD = 1000
_HINT = "correct the broadcast address and ports with which these nsqd start"
_ABSENT_HINT = "the topic was deleted; if nsqd has it, correct the HTTP port that it registers"


class Source(NamedTuple):
    """A source of messages: one topic on one nsqd, over one connection."""

    address: str
    topic: str


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The nsqd and nsqlookupd of a consumer.

    Args:
        nsqd: ``host:port`` of each configured nsqd; these are always subscribed.
        lookup: Client of nsqlookupd, which finds further nsqd; None for none.
        poll_s: Seconds between two polls of nsqlookupd once a node is known, with a jitter of 30 %.
        http: ``host:port`` of the HTTP port of each configured nsqd, by its *nsqd* address.

    Raises:
        SettingsError: If an address is not a host and a port.
    """

    nsqd: tuple[str, ...] = ()
    lookup: Lookup | None = None
    poll_s: float = 60.0
    http: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for address in self.nsqd:
            split_address(address)


class Discovery:
    """Keeps the set of wanted sources up to date.

    Args:
        topics: The handler's topic, then others, which are also wanted on every nsqd that has the first.
        endpoints: Configured nsqd, and nsqlookupd to poll.
        on_change: Called when :attr:`wanted`, :attr:`absent` or :attr:`problems` may have changed.
        log: Logger for failures and mistakes of nsqlookupd.
        background: Starts the task that polls nsqlookupd.

    Attributes:
        wanted: All sources to subscribe to.
        absent: Those of them whose nsqd has last said that it does not have the topic.
        has_producer: Whether an nsqd has the first topic, as far as is known. None while no nsqlookupd
            answers, and if nsqd are configured: on these the handler creates its topics.
    """

    def __init__(
        self,
        topics: tuple[str, ...],
        endpoints: Endpoints,
        *,
        on_change: Callable[[], None],
        log: Log,
        background: Background,
    ) -> None:
        self._topics = topics
        self._background = background
        self._lookup = endpoints.lookup
        self._poll_s = endpoints.poll_s
        self._on_change = on_change
        self._log = log
        self._named = frozenset(Source(address, topic) for address in endpoints.nsqd for topic in topics)
        self.wanted = self._named
        self.absent: frozenset[Source] = frozenset()
        self._http = self._named_http = dict(endpoints.http)
        self._failures: tuple[str, ...] = ()
        self._new_failures, self._new_faults = NewFaults(), NewFaults()
        self._lost_s: dict[Source, float] = {}
        self._asking = asyncio.Lock()
        self._asked_s = -math.inf
        self._is_fruitful = self._is_capped = False
        self._is_answered = endpoints.lookup is None  # by at least one nsqlookupd at the last poll
        self._poll_soon = asyncio.Event()
        self._is_stopping = False
        self.has_producer = self._has_producer()
        self.poller: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to poll nsqlookupd, if there is one."""
        if self._lookup is not None:
            name = f"polls of nsqlookupd for {self._topics[0]}"
            self.poller = self._background.start(self._poll(self._lookup), name)

    @property
    def problems(self) -> tuple[str, ...]:
        """Reasons why the wanted sources are unknown; empty if they are known."""
        if self._is_answered:
            return ()
        return self._failures or ("no nsqlookupd has answered yet",)

    @property
    def http_addresses(self) -> frozenset[str]:
        """The HTTP addresses of all nsqd to subscribe to."""
        known = (self.http_address(source) for source in self.wanted)
        return frozenset(address for address in known if address)

    def http_address(self, source: Source) -> str | None:
        """Return ``host:port`` of the HTTP port of a wanted source's nsqd; None if it is not known."""
        return self._http.get(source.address)

    def is_configured(self, source: Source) -> bool:
        """Return whether the settings name a source's nsqd."""
        return source in self._named

    def connected(self, source: Source) -> None:
        """Take in that a source is subscribed."""
        self._lost_s.pop(source, None)
        self._take_absent(source, is_absent=False)

    def failed(self, source: Source, error: NsqkitError) -> None:
        """Take in why a source could not be subscribed; an absent topic is logged once while it lasts."""
        is_absent = isinstance(error, TopicAbsentError)
        if is_absent and source not in self.absent:
            fields = {"nsqd": source.address, "topic": source.topic, "error": str(error)}
            self._log.warning("topic_absent", **fields, hint=_ABSENT_HINT)
        self._take_absent(source, is_absent=is_absent)

    def lost(self, source: Source) -> None:
        """Poll nsqlookupd at once, and often for a minute or until this source is subscribed again."""
        if self._lookup is not None and not self.is_configured(source):
            self._lost_s[source] = _now_s()
            self._poll_soon.set()

    async def check(self, source: Source, *, since_s: float) -> None:
        """Ask nsqlookupd again, if a source whose connection was lost is not configured.

        nsqadmin deletes a topic in nsqlookupd first, then in nsqd, which closes the connections. To subscribe
        again would bring the topic back (ADR 0034).

        Args:
            source: The source.
            since_s: When the connection was lost or failed, by the event loop's time. A poll that began
                later, and a moment ago, is not repeated.
        """
        if self._lookup is None or self.is_configured(source):
            return
        await self._ask(self._lookup, since_s=max(since_s, _now_s() - _FRESH_S))

    def poll_now(self) -> None:
        """Poll nsqlookupd at once."""
        self._poll_soon.set()

    def stop(self) -> None:
        """Stop polling; a poll in progress runs to its end, but its result is ignored."""
        self._is_stopping = True
        self._poll_soon.set()

    async def _poll(self, lookup: Lookup) -> None:
        quick = 0
        growing = Exponential(base_s=_FIRST_POLL_S, max_s=min(max(self._poll_s, _FIRST_POLL_S), MAX_DELAY_S))
        while not self._is_stopping:
            if self._poll_soon.is_set():
                self._poll_soon.clear()
                quick = 0
            await self._ask(lookup, since_s=_now_s())
            is_hurried = self._is_hurried()
            quick = quick + 1 if is_hurried or not self._is_fruitful else 0
            spread = _POLL_JITTER * random.uniform(-1.0, 1.0)  # noqa: S311 - spreads load
            delay_s = self._poll_s * (1.0 + spread)
            if quick:
                delay_s = growing.delay_s(quick, draw=random.random())  # noqa: S311 - spreads load
            await is_set_within(self._poll_soon, min(delay_s, _QUICK_POLL_S) if is_hurried else delay_s)

    def _is_hurried(self) -> bool:
        since_s = _now_s() - _QUICK_FOR_S
        self._lost_s = {source: lost_s for source, lost_s in self._lost_s.items() if lost_s > since_s}
        return bool(self._lost_s)

    async def _ask(self, lookup: Lookup, *, since_s: float) -> None:
        """Poll for every topic, unless that was begun after a time; callers of the same time share a poll."""
        async with self._asking:
            if self._asked_s >= since_s:
                return
            self._asked_s = _now_s()
            known = {source.address for source in self.wanted}
            results = await asyncio.gather(*(lookup.producers(each, known=known) for each in self._topics))
            if not self._is_stopping:
                self._take(results, len(lookup.addresses))

    def _take(self, results: list[LookupResult], asked: int) -> None:
        failures = tuple(sorted({line for result in results for line in result.failures}))
        self._failures = failures
        self._report(failures, (line for result in results for line in result.faults))
        self._is_answered = len(results[0].failures) < asked
        found = frozenset(self._sources(results))
        self._is_fruitful = bool(found)
        http = {node.address: node.http_address for result in results for node in result.nodes}
        if failures:  # a silent nsqlookupd may be the only one that knows a node: keep all
            found |= self.wanted - self._named
            http = self._http | http
        self.wanted = self._named | self._capped(found, unread=max(result.unread for result in results))
        self.absent &= self.wanted
        self._http = http | self._named_http
        self.has_producer = self._has_producer()
        self._on_change()

    def _has_producer(self) -> bool | None:
        if self._named or not self._is_answered:
            return None
        return any(source.topic == self._topics[0] for source in self.wanted - self.absent)

    def _take_absent(self, source: Source, *, is_absent: bool) -> None:
        if is_absent != (source in self.absent) and not self._is_stopping:
            self.absent ^= {source}
            self.has_producer = self._has_producer()
            self._on_change()

    def _report(self, failures: Iterable[str], faults: Iterable[str]) -> None:
        now_s = _now_s()
        if error := self._new_failures.take(failures, now_s=now_s):
            self._log.warning("nsqlookupd_failed", error=error)
        if error := self._new_faults.take(faults, now_s=now_s):
            self._log.warning("registrations_faulty", error=error, hint=_HINT)

    def _capped(self, found: frozenset[Source], *, unread: int) -> frozenset[Source]:
        """Return the sources on at most 1,000 nsqd, the known ones first."""
        addresses = {source.address for source in found}
        if len(addresses) > _MOST_NSQD:
            known = {source.address for source in self.wanted}
            kept = frozenset(sorted(addresses, key=lambda each: (each not in known, each))[:_MOST_NSQD])
            found = frozenset(source for source in found if source.address in kept)
        count = len(addresses) + unread
        is_too_many = count > _MOST_NSQD
        if is_too_many and not self._is_capped:
            hint = "split the cluster, or name the nsqd with --nsqd"
            self._log.warning("too_many_nsqd", found=count, most=_MOST_NSQD, hint=hint)
        self._is_capped = is_too_many
        return found

    def _sources(self, results: list[LookupResult]) -> Iterable[Source]:
        for topic, result in zip(self._topics, results, strict=True):
            for node in result.nodes:
                yield Source(node.address, topic)
                if topic == self._topics[0]:
                    yield from (Source(node.address, other) for other in self._topics[1:])


def _now_s() -> float:
    return asyncio.get_running_loop().time()
