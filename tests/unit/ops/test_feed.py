"""Feed: every line that can be sent is confirmed by nsqd, and every other is named."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nsqkit import FeedError, PublishError, Settings
from nsqkit.errors import RefusedError
from nsqkit.nsq import ConnectionOptions
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.ops.feed import Feed, FeedReport, check_feed


class FakePublisherPool(PublisherPool):
    """Takes what is published; fails as often as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__(ConnectionOptions())
        self.failures = list(failures)
        self.longest_bytes = 1_000_000
        self.batches: list[list[bytes]] = []
        self.deferred: list[tuple[bytes, float]] = []

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        if len(body) > self.longest_bytes:
            cause = RefusedError(address, "E_BAD_MESSAGE", "PUB message too big")
            raise PublishError(topic, address, str(cause), True) from cause
        self.deferred.append((body, defer_s))

    async def publish_many(self, address: str, topic: str, bodies: Any) -> None:
        if self.failures:
            raise self.failures.pop(0)
        if max(map(len, bodies)) > self.longest_bytes:
            await self.publish(address, topic, max(bodies, key=len))
        self.batches.append(list(bodies))

    @property
    def sent(self) -> list[bytes]:
        return [body for batch in self.batches for body in batch]


Write = Callable[[bytes], Path]


def feed_of(path: Path, publishers: PublisherPool, **options: Any) -> Feed:
    settings = Settings(max_msg_bytes=options.pop("max_msg_bytes", 1_000_000))
    return Feed("orders", path, publishers=publishers, address="nsqd:4150", settings=settings, **options)


class TestLines:
    """What becomes of each line."""

    async def test_lines_go_out_whole_and_in_their_order(self, write: Write) -> None:
        publishers = FakePublisherPool()
        report = await feed_of(write(b'{"n": 1}\n{"n": 2}\n'), publishers).run()
        assert report == FeedReport(2)
        assert publishers.sent == [b'{"n": 1}', b'{"n": 2}']

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            pytest.param(b"", 0, id="an empty file"),
            pytest.param(b"\n \n\t\n", 0, id="blank lines are skipped"),
            pytest.param(b'{"n": 1}', 1, id="the last line needs no end"),
            pytest.param(b'{"n": 1}\r\n{"n": 2}\r\n', 2, id="ends of lines may be of Windows"),
            pytest.param(b'  {"n": 1}  \n', 1, id="blanks around are no part of it"),
        ],
    )
    async def test_lines(self, write: Write, content: bytes, expected: int) -> None:
        publishers = FakePublisherPool()
        report = await feed_of(write(content), publishers).run()
        assert report == FeedReport(expected)
        assert all(body == body.strip() for body in publishers.sent)

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            pytest.param(b"nonsense", "not JSON: ", id="no JSON"),
            pytest.param(b'{"n": 1', "not JSON: ", id="JSON that ends early"),
            pytest.param(b"[1]", "a JSON list, not an object", id="a list"),
            pytest.param(b'"text"', "a JSON str, not an object", id="a text"),
            pytest.param(b"\xff\xfe", "not JSON: ", id="no UTF-8"),
            pytest.param(
                b'{"n": "%s"}' % (b"x" * 200),
                "209 bytes; nsqd takes 100 (setting max_msg_bytes)",
                id="over nsqds limit",
            ),
        ],
    )
    async def test_a_line_that_cannot_be_sent_is_named_by_its_number_and_the_rest_goes_on(
        self, write: Write, line: bytes, said: str
    ) -> None:
        publishers = FakePublisherPool()
        content = b'{"n": 1}\n\n' + line + b'\n{"n": 4}\n'
        report = await feed_of(write(content), publishers, max_msg_bytes=100).run()
        ((number, reason),) = report.refused
        assert number == 3
        assert reason.startswith(said)
        assert report.published == 2
        assert publishers.sent == [b'{"n": 1}', b'{"n": 4}']

    @pytest.mark.parametrize("defer_s", [0.0, 5.0])
    async def test_a_line_that_is_too_large_only_for_this_nsqd_is_left_out_and_named(
        self, write: Write, defer_s: float
    ) -> None:
        """Its max-msg-size was not known at the start."""
        publishers = FakePublisherPool()
        publishers.longest_bytes = 20
        content = b'{"n": 1}\n{"long": "xxxxxxxxxxxx"}\n{"n": 2}\n'
        report = await feed_of(write(content), publishers, defer_s=defer_s).run()
        assert [body for body, _ in publishers.deferred] == [b'{"n": 1}', b'{"n": 2}']
        assert report.published == 2
        ((number, reason),) = report.refused
        assert number == 2
        assert "too big" in reason

    @pytest.mark.parametrize("ending", [b"", b"\n"])
    async def test_a_line_larger_than_the_memory_is_refused_by_its_number_and_never_read_as_a_whole(
        self, write: Write, ending: bytes
    ) -> None:
        path = write(b'{"n": 1}\n')
        with path.open("ab") as file:
            file.truncate(200_000_000)  # sparse, all zeros
            file.write(ending + (b'{"n": 3}' if ending else b""))
        publishers = FakePublisherPool()
        tracemalloc.start()
        try:
            report = await feed_of(path, publishers, max_msg_bytes=1000).run()
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert report.refused == ((2, "199999991 bytes; nsqd takes 1000 (setting max_msg_bytes)"),)
        assert publishers.sent == [b'{"n": 1}', b'{"n": 3}'][: report.published]
        assert report.published == 1 + bool(ending)
        assert peak_bytes < 20_000_000

    async def test_a_line_of_just_nsqds_limit_goes_out(self, write: Write) -> None:
        line = b'{"n": "%s"}' % (b"x" * 91)
        assert len(line) == 100
        content = line + b"\r\n" + line + b"\n" + line
        report = await feed_of(write(content), FakePublisherPool(), max_msg_bytes=100).run()
        assert report.published == 3


class TestBatches:
    """How lines are joined."""

    async def test_no_batch_has_more_than_200_lines(self, write: Write) -> None:
        publishers = FakePublisherPool()
        await feed_of(write(b'{"n": 1}\n' * 450), publishers).run()
        assert [len(batch) for batch in publishers.batches] == [200, 200, 50]

    async def test_no_batch_has_more_than_256_kib_but_a_line_that_is_larger(self, write: Write) -> None:
        publishers = FakePublisherPool()
        line = b'{"n": "%s"}\n' % (b"x" * 100_000)
        large = b'{"n": "%s"}\n' % (b"x" * 500_000)
        await feed_of(write(line * 5 + large + line), publishers).run()
        assert [len(batch) for batch in publishers.batches] == [2, 2, 1, 1, 1]
        assert sum(map(len, publishers.batches)) == 7

    async def test_progress_grows_to_the_whole_file(self, write: Write) -> None:
        told: list[tuple[int, int]] = []
        path = write(b'{"n": 1}\n' * 450 + b"nonsense\n")
        await feed_of(
            path, FakePublisherPool(), on_progress=lambda done, total: told.append((done, total))
        ).run()
        total = path.stat().st_size
        assert told == [(1800, total), (3600, total), (4050, total), (total, total)]

    async def test_a_rate_keeps_batches_small(self, write: Write) -> None:
        publishers = FakePublisherPool()
        await feed_of(write(b'{"n": 1}\n' * 40), publishers, rate=1000.0).run()
        assert [len(batch) for batch in publishers.batches] == [40]
        publishers = FakePublisherPool()
        await feed_of(write(b'{"n": 1}\n' * 3), publishers, rate=1000.0 / 60).run()
        assert [len(batch) for batch in publishers.batches] == [1, 1, 1]

    async def test_deferred_lines_go_out_one_by_one(self, write: Write) -> None:
        publishers = FakePublisherPool()
        report = await feed_of(write(b'{"n": 1}\n{"n": 2}\n'), publishers, defer_s=5.0).run()
        assert report.published == 2
        assert publishers.deferred == [(b'{"n": 1}', 5.0), (b'{"n": 2}', 5.0)]


@pytest.mark.usefixtures("hasty")
class TestUnreachable:
    """An nsqd that cannot be reached is waited for; one that refuses is not."""

    async def test_no_line_is_skipped_while_nsqd_is_away(self, write: Write) -> None:
        away = PublishError("orders", "nsqd:4150", "connection refused", False)
        publishers = FakePublisherPool(away, away, away)
        report = await feed_of(write(b'{"n": 1}\n{"n": 2}\n'), publishers).run()
        assert report.published == 2
        assert publishers.sent == [b'{"n": 1}', b'{"n": 2}']

    async def test_a_refusal_for_good_ends_it(self, write: Write) -> None:
        publishers = FakePublisherPool(PublishError("orders", "nsqd:4150", "E_UNAUTHORIZED", True))
        with pytest.raises(PublishError, match="E_UNAUTHORIZED"):
            await feed_of(write(b'{"n": 1}\n'), publishers).run()


class TestCheck:
    def test_a_file_that_is_there_has_its_size(self, write: Write) -> None:
        assert check_feed("orders", write(b"12345")) == 5

    @pytest.mark.parametrize(
        ("topic", "name", "said"),
        [
            pytest.param("a b", "feed.jsonl", "topic name 'a b'", id="an invalid topic"),
            pytest.param("orders", "missing.jsonl", "No such file", id="no such file"),
            pytest.param("orders", ".", "Is a directory", id="a folder"),
        ],
    )
    def test_what_is_wrong_is_told_in_one_line(self, write: Write, topic: str, name: str, said: str) -> None:
        folder = write(b"").parent
        with pytest.raises(FeedError, match=said) as caught:
            check_feed(topic, folder / name)
        assert "\n" not in str(caught.value)
