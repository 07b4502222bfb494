"""Counts: what the monitors, the databases and nsqd count of the same messages, and where they disagree.

They agree only if no process dies: a worker's counts end with it, and nsqd delivers its messages again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

_PROCESSED: Final = "nsqkit_messages_processed_total"
_COMMITS: Final = frozenset({"success", "discard"})
_SHOWN: Final = ("depth", "dead", "other_workers", "nsqd_counts")

Labels = tuple[str, str, str]
"""Topic, channel and name of a handler."""


class Channel(NamedTuple):
    """What nsqd counts of one channel.

    Args:
        messages: Messages that it has received.
        requeues: Deliveries that came back.
        timeouts: Deliveries that had no answer in time.
    """

    messages: int
    requeues: int
    timeouts: int


@dataclass(frozen=True)
class Counts:
    """All counts at one time.

    Args:
        events: Events of the outboxes, by topic.
        inboxes: Events that handlers with ``once=`` have in their inboxes.
        outcomes: Deliveries at the monitors, by handler and outcome.
        topics: Messages of each topic at nsqd.
        channels: Channels at nsqd, by topic and channel.
        shown: What the pages show that must not be there at the end, such as a dead letter.
    """

    events: Mapping[str, int]
    inboxes: Mapping[Labels, int]
    outcomes: Mapping[Labels, Mapping[str, int]]
    topics: Mapping[str, int]
    channels: Mapping[tuple[str, str], Channel]
    shown: tuple[str, ...]

    @property
    def requeues(self) -> tuple[int, int]:
        """Deliveries that came back: at the monitors, and at nsqd."""
        here = sum(found.get("requeue", 0) for found in self.outcomes.values())
        return here, sum(channel.requeues for channel in self.channels.values())

    def problems(self) -> Iterator[str]:
        """Yield where the counts disagree."""
        for topic in sorted(self.events.keys() | self.topics.keys()):
            rows, messages = self.events.get(topic, 0), self.topics.get(topic, 0)
            if rows != messages:
                yield f"{topic}: {rows} events in the outboxes, {messages} messages in nsqd"
        for labels, found in sorted(self.outcomes.items()):
            yield from self._of_handler(labels, found)
        for labels in sorted(self.inboxes.keys() - self.outcomes.keys()):
            yield f"{'/'.join(labels)} has rows in an inbox, and is on no monitor"
        yield from self.shown

    def _of_handler(self, labels: Labels, found: Mapping[str, int]) -> Iterator[str]:
        topic, channel, _ = labels
        at_nsqd = self.channels.get((topic, channel), Channel(0, 0, 0))
        requeued = found.get("requeue", 0)
        here = Channel(sum(found.values()) - requeued, requeued, 0)
        if here != at_nsqd:
            yield f"{'/'.join(labels)}: the monitor has {here}, nsqd {at_nsqd}"
        committed = sum(found.get(outcome, 0) for outcome in _COMMITS)
        if labels in self.inboxes and committed != self.inboxes[labels]:
            yield f"{'/'.join(labels)}: {committed} on the monitor, {self.inboxes[labels]} in the inbox"


async def read(
    http: httpx.AsyncClient,
    monitors: Iterable[str],
    stats: Any,
    *,
    events: Mapping[str, int],
    inboxes: Mapping[Labels, int],
) -> Counts:
    """Return the counts of now.

    Args:
        http: A client.
        monitors: Addresses of the monitors, such as ``http://127.0.0.1:9464``.
        stats: nsqd's ``/stats``.
        events: Events of the outboxes, by topic.
        inboxes: Events in the inboxes, by handler.
    """
    outcomes: dict[Labels, Counter[str]] = {}
    shown: list[str] = []
    for url in monitors:
        for labels, outcome, count in _processed((await http.get(f"{url}/metrics")).raise_for_status().text):
            outcomes.setdefault(labels, Counter())[outcome] += count
        shown += _shown((await http.get(f"{url}/monitor/state")).raise_for_status().json())
    topics = stats["topics"] or ()
    channels = {
        (topic["topic_name"], each["channel_name"]): Channel(
            each["message_count"], each["requeue_count"], each["timeout_count"]
        )
        for topic in topics
        for each in topic["channels"]
    }
    received = {topic["topic_name"]: topic["message_count"] for topic in topics}
    return Counts(events, inboxes, outcomes, received, channels, tuple(shown))


def _processed(metrics: str) -> Iterator[tuple[Labels, str, int]]:
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == _PROCESSED:
                found = sample.labels
                labels = (found["topic"], found["channel"], found["handler"])
                yield labels, found["outcome"], int(sample.value)


def _shown(page: Any) -> Iterator[str]:
    """Yield the messages, dead letters, other workers and wrong counts that a page shows."""
    for row in page["handlers"]:
        for name in _SHOWN:
            if row[name]:
                yield f"the page of {page['service']['name']} shows for {row['name']}: {name} {row[name]}"
