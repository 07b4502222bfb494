"""Depth limit: when a route pauses because its topic in NSQ, which never pushes back, is full."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

RESUME_SHARE: Final = 0.8
"""Share of the limit at or below which a paused route resumes, so that it does not change at every look."""


@dataclass(frozen=True, slots=True)
class DepthLimit:
    """The most messages that may wait in a topic, and what is known of those that do.

    Args:
        most: Messages at which the route pauses; 1 or more.
        depth: Messages that waited at the last look.
        added: Messages that the route has published since.
        is_reached: Whether the route pauses.
    """

    most: int
    depth: int = 0
    added: int = 0
    is_reached: bool = False

    def looked(self, depth: int) -> "DepthLimit":
        """Return the state after a look at the topic.

        Args:
            depth: Messages that wait now, 0 or more.
        """
        is_reached = depth > self.most * RESUME_SHARE if self.is_reached else depth >= self.most
        return DepthLimit(self.most, depth, 0, is_reached)

    def published(self, count: int) -> "DepthLimit":
        """Return the state after publishing messages, none of which may have left the topic yet."""
        added = self.added + count
        return DepthLimit(self.most, self.depth, added, self.is_reached or self.depth + added >= self.most)


def depth_in(stats: Mapping[str, Any], topic: str) -> int:
    """Return how many messages wait in a topic of an nsqd, and in that of its channels that has most.

    Args:
        stats: The JSON object of nsqd's ``/stats``.
        topic: The topic; one that nsqd does not have has no messages.

    Raises:
        LookupError: If *stats* has another form.
        TypeError: If *stats* has another form.
    """
    found = [each for each in stats["topics"] or () if each["topic_name"] == topic]
    return sum(
        each["depth"] + max((channel["depth"] for channel in each["channels"]), default=0) for each in found
    )
