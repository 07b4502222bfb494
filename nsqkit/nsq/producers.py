"""Producers: reports topics that no nsqd has, with similar names. It decides nothing about connections."""

import asyncio
from collections.abc import Callable

from nsqkit.background import Background
from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.log import Log
from nsqkit.nsq.lookup import Lookup
from nsqkit.nsq.nsqlookupd import NsqlookupdHttp
from nsqkit.policy.suggestion import similar


class Producers:
    """Remembers for each topic whether nsqlookupd names an nsqd for it, and logs changes.

    Args:
        lookup: The nsqlookupd, asked for similar topics; None for none.
        timeout_s: Time limit of one request, in seconds above 0.
        on_change: Called with the topic and whether it has a producer, when that is first known or changes.
        log: Logger for the changes.
        background: Starts the tasks; by default one that only logs those that die.
    """

    def __init__(
        self,
        lookup: Lookup | None,
        *,
        timeout_s: float,
        on_change: Callable[[str, bool], None],
        log: Log,
        background: Background | None = None,
    ) -> None:
        self._background = background or Background(log)
        self._lookup = lookup
        self._timeout_s = timeout_s
        self._on_change = on_change
        self._log = log
        self._known: dict[str, bool] = {}
        self._warnings: set[asyncio.Task[None]] = set()

    def has_producer(self, topic: str) -> bool | None:
        """Return whether an nsqd has the topic; None if that is not known."""
        return self._known.get(topic)

    def found(self, topic: str, has_producer: bool) -> None:  # noqa: FBT001 - a callback of consumers
        """Take in whether an nsqd has the topic."""
        before = self._known.get(topic)
        if before is has_producer:
            return
        self._known[topic] = has_producer
        self._on_change(topic, has_producer)
        if not has_producer:
            warning = self._background.start(self._warn(topic), f"topics similar to {topic}")
            self._warnings.add(warning)
            warning.add_done_callback(self._warnings.discard)
        elif before is not None:
            self._log.info("topic_has_producer", topic=topic)

    async def close(self) -> None:
        """Stop asking for similar topics."""
        for warning in self._warnings:
            warning.cancel()
        await asyncio.gather(*self._warnings, return_exceptions=True)

    async def _warn(self, topic: str) -> None:
        known = await self._topics() - {topic}
        names = await asyncio.to_thread(similar, topic, known)  # takes long for thousands of topics
        if self._known[topic]:  # one has appeared meanwhile
            return
        hint = "no nsqd has this topic: check its name, and whether a producer has published"
        self._log.warning("topic_without_producer", topic=topic, similar=list(names), hint=hint)

    async def _topics(self) -> frozenset[str]:
        """Return the topics that an nsqd has; a worker's registration alone makes no topic known."""
        addresses = self._lookup.addresses if self._lookup else ()
        return frozenset().union(*await asyncio.gather(*map(self._topics_at, addresses)))

    async def _topics_at(self, address: str) -> frozenset[str]:
        try:
            return await NsqlookupdHttp(address, self._timeout_s).topics_of_nodes()
        except (ConnectionLostError, RefusedError):
            return frozenset()
