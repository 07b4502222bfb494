"""Channels: those of some handlers, created before the first message is published. It publishes nothing."""

from collections.abc import Sequence
from functools import partial

from nsqkit.handler.spec import HandlerSpec
from nsqkit.loading.loader import load
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.ops.keep_trying import keep_trying
from nsqkit.policy.suggestion import suggestion
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs


def subscriptions_of(targets: Sequence[str], settings: Settings) -> list[tuple[str, str]]:
    """Return every (topic, channel) of the handlers in some modules; none for no modules.

    Raises:
        LoadError: If the modules cannot be loaded.
    """
    return subscriptions(load(targets, settings).handlers) if targets else []


def subscriptions(specs: Sequence[HandlerSpec]) -> list[tuple[str, str]]:
    """Return every (topic, channel) of some handlers, ``.retry`` topics included."""
    return [(topic, spec.channel) for spec in specs for topic in spec.topics]


def unread_problem(topic: str, subscriptions: Sequence[tuple[str, str]]) -> str | None:
    """Return one line if a topic is in none of the (topic, channel) pairs; else None."""
    topics = [each for each, _ in subscriptions]
    if topic in topics:
        return None
    return f"no handler here reads topic {topic!r}{suggestion(topic, topics)}"


async def make_channels(
    subscriptions: Sequence[tuple[str, str]], publishers: PublisherPool, address: str
) -> None:
    """Create durable channels; a topic's first channel takes the topic's whole backlog.

    While nsqd cannot be reached it keeps trying.

    Args:
        subscriptions: (topic, channel) pairs to create.
        publishers: The connections to use.
        address: ``host:port`` of the nsqd.

    Raises:
        PublishError: If nsqd refuses a channel permanently.
    """
    for topic, channel in subscriptions:
        await keep_trying(partial(publishers.ensure_channel, address, topic, channel), logs.get_logger())
