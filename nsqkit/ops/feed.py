"""Feed: publishes a file of JSON lines on a topic of one nsqd, each line confirmed by it."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import BinaryIO

from nsqkit.errors import FeedError, PublishError, RefusedError
from nsqkit.events.codec.formats import loads
from nsqkit.nsq.nodes import message_limit
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.ops.keep_trying import keep_trying
from nsqkit.policy.names import topic_problem
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs

BATCH_MESSAGES = 200
BATCH_BYTES = 256 * 1024
_ENDING_BYTES = len(b"\r\n")
_PART_BYTES = 1 << 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FeedReport:
    """The result of a feed.

    Args:
        published: How many lines nsqd confirmed.
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
    """Publishes one file on one topic of one nsqd.

    Args:
        topic: The topic to publish on.
        path: A file with one JSON object on each line; blank lines are skipped.
        publishers: The connections to publish on.
        address: ``host:port`` of the nsqd.
        settings: The nsqd to ask for the largest size of a message, and that size if nsqd does not answer.
        rate: Messages per second, above 0; None for as fast as nsqd confirms.
        defer_s: Seconds for which nsqd defers each message.
        is_repeated: Whether the file was published before, so that nothing is missing if it is cut short.
        on_progress: Called with the bytes that are done and the bytes of the file, after each batch.

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
        is_repeated: bool = False,
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
        self._is_repeated = is_repeated
        self._on_progress = on_progress
        self._refused: list[tuple[int, str]] = []
        self._is_stopped = False
        self._log = logs.get_logger(topic=topic, feed=str(path))

    async def run(self) -> FeedReport:
        """Publish every line and await nsqd's OKs. A line that cannot be sent is logged and left out.

        While nsqd cannot be reached it keeps trying, so a line can arrive twice, but none is skipped.

        Raises:
            PublishError: If nsqd refuses permanently.
        """
        self._max_bytes = await message_limit(self._settings)
        published, next_line = 0, 1
        started_s = asyncio.get_running_loop().time()
        try:
            batches = self._batches()
            while batch := await asyncio.to_thread(next, batches, None):  # the disk may be slow, a line long
                published += await keep_trying(partial(self._publish, batch), self._log)
                next_line = batch[-1].number + 1
                self._on_progress(batch[-1].ends_at, self._total)
                if self._rate is not None:
                    due_s = started_s + published / self._rate
                    await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
        except asyncio.CancelledError:
            self._is_stopped = True
            if not self._is_repeated:
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
        longest = self._max_bytes + _ENDING_BYTES
        with self._path.open("rb") as file:
            for number in count(1):
                starts_at = ends_at
                raw = file.readline(longest)
                if not raw:
                    return
                ends_at += len(raw)
                body, problem = raw.strip(), None
                if len(raw) == longest and not raw.endswith(b"\n"):
                    last = b""
                    for last in self._rest(file):
                        ends_at += len(last)
                    problem = self._too_long(ends_at - starts_at - last.endswith(b"\n"))
                elif not body:
                    continue
                if problem := problem or self._problem(body):
                    self._refuse(number, problem)
                else:
                    yield _Line(number, body, ends_at)

    def _rest(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the rest of a line in parts, since the whole of it may be larger than the memory."""
        while not self._is_stopped and (part := file.readline(_PART_BYTES)):
            yield part
            if part.endswith(b"\n"):
                return

    def _too_long(self, n_bytes: int) -> str:
        is_set = self._max_bytes == self._settings.max_msg_bytes
        source = "setting max_msg_bytes" if is_set else "its --max-msg-size"
        return f"{n_bytes} bytes; nsqd takes {self._max_bytes} ({source})"

    def _problem(self, body: bytes) -> str | None:
        if len(body) > self._max_bytes:
            return self._too_long(len(body))
        try:
            value = loads(body)
        except ValueError as error:
            return f"not JSON: {error}"
        return None if isinstance(value, dict) else f"a JSON {type(value).__name__}, not an object"

    def _refuse(self, number: int, reason: str) -> None:
        self._refused.append((number, reason))
        self._log.error("feed_line_refused", line=number, reason=reason)

    async def _publish(self, batch: list[_Line]) -> int:
        """Publish lines, and return how many nsqd confirmed; leave those out that are too large for it."""
        if not self._defer_s:  # one command cannot defer several
            try:
                bodies = [line.body for line in batch]
                await self._publishers.publish_many(self._address, self._topic, bodies)
            except PublishError as error:
                if not _is_too_large(error):
                    raise
            else:
                return len(batch)
        return sum([await self._publish_one(line) for line in batch])

    async def _publish_one(self, line: _Line) -> bool:
        try:
            await self._publishers.publish(self._address, self._topic, line.body, defer_s=self._defer_s)
        except PublishError as error:
            if not _is_too_large(error):
                raise
            self._refuse(line.number, error.reason)
            return False
        return True


def _is_too_large(error: PublishError) -> bool:
    """Return whether nsqd has refused a message, as one above a max-msg-size that was not known before."""
    cause = error.__cause__
    return isinstance(cause, RefusedError) and cause.code == "E_BAD_MESSAGE"


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
