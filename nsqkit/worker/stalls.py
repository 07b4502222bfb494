"""Stalls: finds the nsqd that keep messages back from one handler, logs and counts them."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from nsqkit.nsq.consumer import Consumer
from nsqkit.nsq.pauses import Polled
from nsqkit.policy.stall import Wait, wait_after
from nsqkit.telemetry.metrics.handler import HandlerMetrics

_HINT = "RDY allows more, and this nsqd delivers to no consumer: see its log and its disk queue"


class _Place(NamedTuple):
    """A topic on the nsqd with an HTTP address."""

    nsqd: str
    topic: str


class Stalls:
    """Looks at the handler's channels after each poll of the nsqd.

    Args:
        consumer: The handler's consumer.
        topics: The topics that it consumes.
        channel: The channel that it consumes.
        meter: Counts of the handler.
        log: structlog logger with the fields of the handler.
        now_s: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        consumer: Consumer,
        topics: tuple[str, ...],
        channel: str,
        *,
        meter: HandlerMetrics,
        log: Any,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._topics = topics
        self._channel = channel
        self._meter = meter
        self._log = log
        self._now_s = now_s
        self._waits: dict[_Place, Wait] = {}
        self._stalled: set[_Place] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """The stalls, as ``host:port topic/channel`` with nsqd's HTTP address."""
        return tuple(f"{nsqd} {topic}/{self._channel}" for nsqd, topic in sorted(self._stalled))

    def polled(self, found: Polled) -> None:
        """Look at all channels after a poll; of an nsqd that did not answer, nothing changes.

        Args:
            found: What the nsqd say that answered.
        """
        rooms = self._consumer.rooms()
        now_s = self._now_s()
        for nsqd, counts in found.items():
            for topic in self._topics:
                place = _Place(nsqd, topic)
                wait = None
                if (seen := counts.get((topic, self._channel))) is not None:
                    wait = wait_after(self._waits.get(place), seen, rooms.get(place), now_s=now_s)
                self._take(place, wait, now_s)
        for place in self._waits.keys() - rooms.keys():
            self._take(place, None, now_s)

    def _take(self, place: _Place, wait: Wait | None, now_s: float) -> None:
        if wait is None:
            self._waits.pop(place, None)
        else:
            self._waits[place] = wait
        if wait is None or not wait.is_stalled(now_s):
            if place in self._stalled:
                self._stalled.discard(place)
                self._log.info("stall_over", nsqd=place.nsqd, topic=place.topic)
        elif place not in self._stalled:
            self._stalled.add(place)
            self._meter.stalled()
            self._log.warning(
                "delivery_stalled",
                nsqd=place.nsqd,
                topic=place.topic,
                depth=wait.counts.depth,
                stalled_s=round(now_s - wait.since_s),
                hint=_HINT,
            )
