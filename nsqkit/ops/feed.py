"""Feed: messages from a file of JSON lines, or one message, to a topic; each confirmed by nsqd."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from nsqkit.errors import ConnectionLostError, FeedError, PublishError
from nsqkit.events.codec import loads
from nsqkit.events.types import suggestion
from nsqkit.handler.handler import HandlerSpec
from nsqkit.loading.loader import keeps_dead_letters, load
from nsqkit.nsq.nodes import message_limit, target_address
from nsqkit.nsq.options import connection_options
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.policy.names import topic_problem
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs
from nsqkit.worker.subscription import subscribed_topics

BATCH_MESSAGES = 200
BATCH_BYTES = 256 * 1024
RETRY_FIRST_S = 0.2
RETRY_LONGEST_S = 5.0

T = TypeVar("T")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FeedReport:
    """What became of a feed.

    Args:
        published: Lines that nsqd confirmed.
        refused: Lines that were not sent, as (line number from 1, reason).
    """

    published: int
    refused: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    body: bytes
    ends_at: int


class Feed:
    """One file on its way to one topic of one nsqd.

    Args:
        topic: Where to.
        path: A file of one JSON object a line; blank lines are skipped.
        publishers: Publish to nsqd.
        address: ``host:port`` of the nsqd.
        settings: Tell the nsqd, and bound the size of a message where those do not.
        rate: Messages per second; None for as fast as nsqd confirms.
        defer_s: Seconds for which nsqd holds each back.
        on_progress: Told bytes done and bytes in all, after each batch.

    Raises:
        FeedError: If the file cannot be read or the topic's name is not valid.
    """

    def __init__(
        self,
        topic: str,
        path: Path,
        *,
        publishers: PublisherPool,
        address: str,
        settings: Settings,
        rate: float | None = None,
        defer_s: float = 0.0,
        on_progress: Progress = lambda _done, _total: None,
    ) -> None:
        self._total = check_feed(topic, path)
        self._topic = topic
        self._path = path
        self._publishers = publishers
        self._address = address
        self._settings = settings
        self._max_bytes = settings.max_msg_bytes
        self._rate = rate
        self._defer_s = defer_s
        self._on_progress = on_progress
        self._refused: list[tuple[int, str]] = []
        self._log = logs.get_logger(topic=topic, feed=str(path))

    async def run(self) -> FeedReport:
        """Publish every line and await nsqd's OKs; a line that cannot be sent is named, the rest goes on.

        While nsqd cannot be reached it keeps trying, so a line can arrive twice, but none is skipped.

        Raises:
            PublishError: If nsqd refuses for good.
        """
        self._max_bytes = await message_limit(self._settings)
        published, next_line = 0, 1
        started_s = asyncio.get_running_loop().time()
        try:
            for batch in self._batches():
                await keep_trying(partial(self._publish, [line.body for line in batch]), self._log)
                published, next_line = published + len(batch), batch[-1].number + 1
                self._on_progress(batch[-1].ends_at, self._total)
                if self._rate is not None:
                    due_s = started_s + published / self._rate
                    await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
        except asyncio.CancelledError:
            self._log.warning("feed_stopped", published=published, next_line=next_line)
            raise
        self._on_progress(self._total, self._total)
        return FeedReport(published, tuple(self._refused))

    def _batches(self) -> Iterator[list[_Line]]:
        most = BATCH_MESSAGES if self._rate is None else max(1, min(BATCH_MESSAGES, int(self._rate / 10)))
        batch: list[_Line] = []
        size = 0
        for line in self._lines():
            if batch and (len(batch) >= most or size + len(line.body) > BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(line)
            size += len(line.body)
        if batch:
            yield batch

    def _lines(self) -> Iterator[_Line]:
        ends_at = 0
        with self._path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                ends_at += len(raw)
                body = raw.strip()
                if not body:
                    continue
                if problem := self._problem(body):
                    self._refused.append((number, problem))
                    self._log.error("feed_line_refused", line=number, reason=problem)
                else:
                    yield _Line(number, body, ends_at)

    def _problem(self, body: bytes) -> str | None:
        if len(body) > self._max_bytes:
            is_set = self._max_bytes == self._settings.max_msg_bytes
            source = "setting max_msg_bytes" if is_set else "its --max-msg-size"
            return f"{len(body)} bytes; nsqd takes {self._max_bytes} ({source})"
        try:
            value = loads(body)
        except ValueError as error:
            return f"not JSON: {error}"
        return None if isinstance(value, dict) else f"a JSON {type(value).__name__}, not an object"

    async def _publish(self, bodies: list[bytes]) -> None:
        if self._defer_s:
            publish = self._publishers.publish
            for body in bodies:
                await publish(self._address, self._topic, body, defer_s=self._defer_s)
        else:
            await self._publishers.publish_many(self._address, self._topic, bodies)


def unread_problem(topic: str, subscriptions: Sequence[tuple[str, str]]) -> str | None:
    """Return what is odd about a topic that is in none of the (topic, channel) pairs; else None."""
    topics = [each for each, _ in subscriptions]
    if topic in topics:
        return None
    return f"no handler here reads topic {topic!r}{suggestion(topic, topics)}"


def check_feed(topic: str, path: Path) -> int:
    """Return the size of a feed's file, in bytes.

    Raises:
        FeedError: If the file cannot be read or the topic's name is not valid.
    """
    if problem := topic_problem(topic):
        raise FeedError(problem)
    try:
        path.open("rb").close()
        return path.stat().st_size
    except OSError as error:
        raise FeedError(f"feed {topic}={path}: cannot be read: {error.strerror}") from None


async def publish_files(
    feeds: Sequence[tuple[str, Path]], publishers: PublisherPool, address: str, settings: Settings
) -> bool:
    """Publish files one after the other, and return whether no line was refused.

    Args:
        feeds: (topic, file) each.
        publishers: Publish to nsqd.
        address: ``host:port`` of the nsqd.
        settings: Bound the size of a message.

    Raises:
        FeedError: If a file cannot be read.
        PublishError: If nsqd refuses for good.
    """
    reports = []
    for topic, path in feeds:
        report = await Feed(topic, path, publishers=publishers, address=address, settings=settings).run()
        log = logs.get_logger(topic=topic, feed=str(path))
        log.info("feed_confirmed", published=report.published, refused=len(report.refused))
        reports.append(report)
    return not any(report.refused for report in reports)


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
    """Publish a file of JSON lines and return what became of it; runs an event loop of its own.

    Args:
        topic: Where to.
        path: The file.
        settings: Which nsqd, and limits.
        rate: Messages per second; None for as fast as nsqd confirms.
        defer_s: Seconds for which nsqd holds each back.
        on_progress: Told bytes done and bytes in all.
        channels_for: Handler modules whose channels are made first, so that none misses a message.

    Raises:
        FeedError: If the file cannot be read, or the handlers read another topic.
        PublishError: If nsqd refuses for good.
        SettingsError: If no nsqd is named.
        LoadError: If the modules cannot be loaded.
    """
    wanted = subscriptions_of(channels_for, settings)
    if channels_for and (problem := unread_problem(topic, wanted)):
        raise FeedError(problem)

    async def run() -> FeedReport:
        publishers = PublisherPool(connection_options(settings), publish_timeout_s=settings.publish_timeout_s)
        try:
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
        finally:
            await publishers.close()

    return asyncio.run(run())


def publish_one(topic: str, body: bytes, settings: Settings, *, defer_s: float = 0.0) -> None:
    """Publish one message and wait for nsqd's OK; runs an event loop of its own.

    Raises:
        PublishError: If it is not confirmed.
        SettingsError: If no nsqd is named.
    """

    async def run() -> None:
        publishers = PublisherPool(connection_options(settings), publish_timeout_s=settings.publish_timeout_s)
        try:
            await publishers.publish(await target_address(settings), topic, body, defer_s=defer_s)
        finally:
            await publishers.close()

    asyncio.run(run())


async def keep_trying(attempt: Callable[[], Awaitable[T]], log: Any) -> T:
    """Return what an attempt returns, once one succeeds; says why it waits.

    Args:
        attempt: What to try; an unreachable nsqd or nsqlookupd is waited for.
        log: A structlog logger.

    Raises:
        NsqkitError: If it can never succeed.
    """
    wait_s = RETRY_FIRST_S
    while True:
        try:
            return await attempt()
        except (PublishError, ConnectionLostError) as error:
            if isinstance(error, PublishError) and error.permanent:
                raise
            log.warning("feed_waits", error=str(error), retry_in_s=wait_s)
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, RETRY_LONGEST_S)


async def make_channels(
    subscriptions: Sequence[tuple[str, str]], publishers: PublisherPool, address: str
) -> None:
    """Make durable channels before the first publish; a topic's first channel takes its whole backlog.

    While nsqd cannot be reached it keeps trying.

    Args:
        subscriptions: (topic, channel) each.
        publishers: Publish to nsqd.
        address: ``host:port`` of the nsqd.

    Raises:
        PublishError: If nsqd refuses for good.
    """
    for topic, channel in subscriptions:
        await keep_trying(partial(publishers.ensure_channel, address, topic, channel), logs.get_logger())


def subscriptions_of(targets: Sequence[str], settings: Settings) -> list[tuple[str, str]]:
    """Return every (topic, channel) of the handlers in some modules; none for no modules.

    Raises:
        LoadError: If the modules cannot be loaded.
    """
    return subscriptions(load(targets, settings).handlers) if targets else []


def subscriptions(specs: Sequence[HandlerSpec]) -> list[tuple[str, str]]:
    """Return every (topic, channel) of some handlers, ``.retry`` topics included."""
    return [
        (topic, spec.channel)
        for spec in specs
        for topic in subscribed_topics(spec.topic, spec.channel, with_retry=keeps_dead_letters(spec))
    ]
