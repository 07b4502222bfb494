"""Publish counts: the number of messages that this process has published, by topic and outcome."""

from enum import StrEnum
from threading import get_ident
from typing import Final

from nsqkit.events.types import REGISTRY

OTHER_TOPIC: Final = "other"

_counts: "dict[tuple[int, str, PublishOutcome], int]" = {}
"""Each thread adds to its own counts: a lock could be held by a thread that a fork does not copy."""


class PublishOutcome(StrEnum):
    """How a publish has ended. A message that failed may have arrived nevertheless."""

    CONFIRMED = "confirmed"
    FAILED = "failed"


def count_published(topic: str, error: BaseException | None, messages: int = 1) -> None:
    """Count messages that were published, or not.

    Args:
        topic: Their topic; unless it is that of an ``@event``, ``other`` is counted.
        error: Why nsqd has not confirmed them; None if it has.
        messages: Number of messages; 1 or more.
    """
    outcome = PublishOutcome.CONFIRMED if error is None else PublishOutcome.FAILED
    key = get_ident(), topic if topic in REGISTRY.topics else OTHER_TOPIC, outcome
    _counts[key] = _counts.get(key, 0) + messages


def published() -> dict[tuple[str, PublishOutcome], int]:
    """Return the number of messages by topic and outcome; for each topic every outcome, at 0 too."""
    counts = _counts.copy()
    topics = dict.fromkeys(topic for _, topic, _ in counts)
    found = {(topic, outcome): 0 for topic in topics for outcome in PublishOutcome}
    for (_, topic, outcome), count in counts.items():
        found[topic, outcome] += count
    return found
