"""Publish: `nsqkit publish` as functions; one message, or a file of them, each confirmed by nsqd."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from nsqkit.errors import FeedError
from nsqkit.nsq.nodes import target_address
from nsqkit.nsq.options import connection_options
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.ops.channels import make_channels, subscriptions_of, unread_problem
from nsqkit.ops.feed import Feed, FeedReport, Progress
from nsqkit.ops.keep_trying import keep_trying
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs


def publish_one(topic: str, body: bytes, settings: Settings, *, defer_s: float = 0.0) -> None:
    """Publish one message and wait for nsqd's OK; runs an event loop of its own.

    Raises:
        PublishError: If nsqd does not confirm it.
        SettingsError: If the settings name no nsqd and no nsqlookupd.
    """

    async def run() -> None:
        async with _publishers(settings) as publishers:
            await publishers.publish(await target_address(settings), topic, body, defer_s=defer_s)

    asyncio.run(run())


def publish_file(
    topic: str,
    path: Path,
    settings: Settings,
    *,
    rate: float | None = None,
    defer_s: float = 0.0,
    on_progress: Progress = lambda _done, _total: None,
    channels_for: Sequence[str] = (),
) -> FeedReport:
    """Publish a file of JSON lines; runs an event loop of its own.

    Args:
        topic: The topic to publish on.
        path: A file with one JSON object on each line.
        settings: The nsqd to publish to, and the largest size of a message.
        rate: Messages per second, above 0; None for as fast as nsqd confirms.
        defer_s: Seconds for which nsqd defers each message.
        on_progress: Called with the bytes that are done and the bytes of the file.
        channels_for: Handler modules whose channels are created first, so that none misses a message.

    Raises:
        FeedError: If the file cannot be read, or the handlers read another topic.
        PublishError: If nsqd refuses permanently.
        SettingsError: If the settings name no nsqd and no nsqlookupd.
        LoadError: If the modules cannot be loaded.
    """
    wanted = subscriptions_of(channels_for, settings)
    if channels_for and (problem := unread_problem(topic, wanted)):
        raise FeedError(problem)

    async def run() -> FeedReport:
        async with _publishers(settings) as publishers:
            address = await keep_trying(partial(target_address, settings), logs.get_logger())
            feed = Feed(
                topic,
                path,
                publishers=publishers,
                address=address,
                settings=settings,
                rate=rate,
                defer_s=defer_s,
                on_progress=on_progress,
            )
            await make_channels(wanted, publishers, address)
            return await feed.run()

    return asyncio.run(run())


async def publish_files(
    feeds: Sequence[tuple[str, Path]], publishers: PublisherPool, address: str, settings: Settings
) -> bool:
    """Publish files one after the other, and return whether no line was refused.

    Args:
        feeds: (topic, file) pairs.
        publishers: The connections to publish on.
        address: ``host:port`` of the nsqd.
        settings: The largest size of a message.

    Raises:
        FeedError: If a file cannot be read.
        PublishError: If nsqd refuses permanently.
    """
    reports = []
    for topic, path in feeds:
        report = await Feed(topic, path, publishers=publishers, address=address, settings=settings).run()
        log = logs.get_logger(topic=topic, feed=str(path))
        log.info("feed_confirmed", published=report.published, refused=len(report.refused))
        reports.append(report)
    return not any(report.refused for report in reports)


async def publish_feeds(
    feeds: Sequence[tuple[str, Path]],
    subscriptions: Sequence[tuple[str, str]],
    settings: Settings,
    *,
    wait_subscribed: Callable[[str], Awaitable[object]] | None = None,
) -> bool:
    """Publish files for handlers that run in other processes; keeps trying while no nsqd can be reached.

    Args:
        feeds: (topic, file) pairs.
        subscriptions: (topic, channel) pairs of the handlers; these channels are created first.
        settings: The nsqd to publish to, and the largest size of a message.
        wait_subscribed: Called with the nsqd's ``host:port`` before the first message; None to publish at
            once.

    Returns:
        Whether no line was refused.

    Raises:
        FeedError: If a file cannot be read.
        PublishError: If nsqd refuses permanently.
    """
    async with _publishers(settings) as publishers:
        address = await keep_trying(partial(target_address, settings), logs.get_logger())
        await make_channels(subscriptions, publishers, address)
        if wait_subscribed is not None:
            await wait_subscribed(address)
        return await publish_files(feeds, publishers, address, settings)


async def repeat_feeds(feeds: Sequence[tuple[str, Path]], settings: Settings) -> None:
    """Publish files again and again, until cancelled; return at once if ``feed_rate`` is 0.

    Args:
        feeds: (topic, file) pairs that were published once.
        settings: The nsqd to publish to, and ``feed_rate``.

    Raises:
        FeedError: If a file cannot be read.
        PublishError: If nsqd refuses permanently.
    """
    if not (feeds and settings.feed_rate):
        return
    async with _publishers(settings) as publishers:
        address = await keep_trying(partial(target_address, settings), logs.get_logger())
        while True:
            for topic, path in feeds:
                await Feed(
                    topic,
                    path,
                    publishers=publishers,
                    address=address,
                    settings=settings,
                    rate=settings.feed_rate,
                    is_repeated=True,
                ).run()


@asynccontextmanager
async def _publishers(settings: Settings) -> AsyncIterator[PublisherPool]:
    publishers = PublisherPool(connection_options(settings), publish_timeout_s=settings.publish_timeout_s)
    try:
        yield publishers
    finally:
        await publishers.close()
