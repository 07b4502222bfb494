"""Stalls: whether an nsqd keeps messages back from a channel although this worker has room for them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from nsqkit.policy.registration import Pair

STALLED_S: Final = 60.0
"""Seconds for which no consumer receives a waiting message before that counts as a stall."""


class ChannelCounts(NamedTuple):
    """What an nsqd says of a channel.

    Args:
        depth: Messages that wait for delivery.
        left: Messages in flight or finished: all that were put in, but the waiting and the deferred ones.
        returned: Messages that came back so far, requeued or after their timeout.
        is_paused: Whether the channel or its topic is paused.
        in_flight: Messages that a consumer, of this worker or another, has not answered yet.
        deferred: Messages that wait for the end of a delay.
    """

    depth: int
    left: int
    returned: int
    is_paused: bool
    in_flight: int = 0
    deferred: int = 0


class Room(NamedTuple):
    """What this worker has on one subscription to a channel.

    Args:
        subscription: Another object for each connection.
        received: Deliveries so far.
        free: Messages that nsqd may send now: RDY without the messages in flight.
    """

    subscription: object
    received: int
    free: int


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait for messages of a channel, which have been there since the first of several looks.

    Args:
        since_s: Time of the first look, in seconds.
        counts: What nsqd says now.
        room: What this worker has now.
    """

    since_s: float
    counts: ChannelCounts
    room: Room

    def is_stalled(self, now_s: float) -> bool:
        """Return whether the wait is a stall."""
        return now_s - self.since_s >= STALLED_S

    def goes_on(self, counts: ChannelCounts, room: Room) -> bool:
        """Return whether nothing was delivered since the last look, neither here nor to another consumer.

        A delivery raises *left*. A message that comes back lowers it again, and raises *returned*.

        Args:
            counts: What nsqd says at the next look.
            room: What this worker has then.
        """
        is_same = room.subscription is self.room.subscription and room.received == self.room.received
        return is_same and (counts.left, counts.returned) == (self.counts.left, self.counts.returned)


def wait_after(before: Wait | None, counts: ChannelCounts, room: Room | None, *, now_s: float) -> Wait | None:
    """Return the wait for messages after another look; None if nothing keeps them back.

    Args:
        before: What this returned at the look before; None at the first.
        counts: What nsqd says now.
        room: What this worker has now; None without a subscription.
        now_s: A monotonic time in seconds.
    """
    if room is None or room.free <= 0 or counts.depth <= 0 or counts.is_paused:
        return None
    if before is not None and before.goes_on(counts, room):
        now_s = before.since_s
    return Wait(now_s, counts, room)


def channel_counts(stats: Mapping[str, Any], subscribed: Iterable[Pair]) -> dict[Pair, ChannelCounts]:
    """Return what an nsqd says of the channels that a worker consumes.

    Args:
        stats: The JSON object of nsqd's ``/stats``.
        subscribed: Every (topic, channel) of the worker.

    Raises:
        LookupError: If *stats* has another form.
        TypeError: If *stats* has another form.

    Source:
        nsqd/channel.go (PutMessage counts a message, RequeueMessage does not), nsqd/stats.go.
    """
    wanted = frozenset(subscribed)
    return {
        pair: _counts(channel, is_paused=bool(topic["paused"] or channel["paused"]))
        for topic in stats["topics"] or ()
        for channel in topic["channels"]
        if (pair := (topic["topic_name"], channel["channel_name"])) in wanted
    }


def _counts(channel: Mapping[str, Any], *, is_paused: bool) -> ChannelCounts:
    depth, in_flight, deferred = (
        _count(channel, name) for name in ("depth", "in_flight_count", "deferred_count")
    )
    put, requeued, timed_out = (
        _count(channel, name) for name in ("message_count", "requeue_count", "timeout_count")
    )
    left = put - depth - deferred
    return ChannelCounts(depth, left, requeued + timed_out, is_paused, in_flight, deferred)


def _count(channel: Mapping[str, Any], name: str) -> int:
    count = channel[name]
    if type(count) is not int:
        raise TypeError(f"{name} is not a whole number")
    return count
