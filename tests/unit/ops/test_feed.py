"""Feed: every line that can be sent is confirmed by nsqd, and every other is named."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nsqkit import FeedError, LoadError, PublishError, Settings, SettingsError
from nsqkit.devbroker import DevBroker
from nsqkit.errors import ConnectionLostError
from nsqkit.nsq import ConnectionOptions
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.ops import feed as module
from nsqkit.ops.feed import (
    Feed,
    FeedReport,
    check_feed,
    keep_trying,
    make_channels,
    publish_file,
    publish_one,
    unread_problem,
)
from tests.unit.reading import take, topics_of
from tests.unit.runtime.bench import RecordingLog

NOBODY = "127.0.0.1:1"


class FakePublisherPool(PublisherPool):
    """Takes what is published; fails as often as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__(ConnectionOptions())
        self.failures = list(failures)
        self.batches: list[list[bytes]] = []
        self.deferred: list[tuple[bytes, float]] = []

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        self.deferred.append((body, defer_s))

    async def publish_many(self, address: str, topic: str, bodies: Any) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append(list(bodies))

    @property
    def sent(self) -> list[bytes]:
        return [body for batch in self.batches for body in batch]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "feed.jsonl"
        path.write_bytes(content)
        return path

    return write


Write = Callable[[bytes], Path]


def feed_of(path: Path, publishers: PublisherPool, **options: Any) -> Feed:
    settings = Settings(max_msg_bytes=options.pop("max_msg_bytes", 1_000_000))
    return Feed("orders", path, publishers=publishers, address="nsqd:4150", settings=settings, **options)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for between two tries."""
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.0)


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

    async def test_a_line_of_just_nsqds_limit_goes_out(self, write: Write) -> None:
        line = b'{"n": "%s"}' % (b"x" * 91)
        assert len(line) == 100
        report = await feed_of(write(line), FakePublisherPool(), max_msg_bytes=100).run()
        assert report.published == 1


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
class TestKeepTrying:
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

    async def test_each_wait_is_told(self) -> None:
        failures: list[Exception] = [
            ConnectionLostError("nsqd:4150", "refused"),
            PublishError("t", "nsqd:4150", "timeout", False),
        ]
        log = RecordingLog()

        async def attempt() -> str:
            if failures:
                raise failures.pop(0)
            return "done"

        assert await keep_trying(attempt, log) == "done"
        assert [name for _, name, _ in log.lines] == ["feed_waits"] * 2
        assert "refused" in log.lines[0][2]["error"]

    async def test_other_errors_are_passed_on(self) -> None:
        async def attempt() -> None:
            raise SettingsError("no nsqd")

        with pytest.raises(SettingsError, match="no nsqd"):
            await keep_trying(attempt, RecordingLog())

    async def test_waits_grow_up_to_their_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "RETRY_FIRST_S", 0.001)
        monkeypatch.setattr(module, "RETRY_LONGEST_S", 0.004)
        log = RecordingLog()
        left = 5

        async def attempt() -> None:
            nonlocal left
            left -= 1
            if left:
                raise ConnectionLostError("nsqd:4150", "refused")

        await keep_trying(attempt, log)
        assert [fields["retry_in_s"] for _, _, fields in log.lines] == [0.001, 0.002, 0.004, 0.004]


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


class TestPublishFile:
    """The command ``nsqkit publish --file``."""

    def told(self, broker: DevBroker) -> Settings:
        return Settings(nsqd=(broker.tcp_address,), connect_timeout_s=1.0)

    def test_every_line_is_in_nsqd(self, write: Write, threaded_broker: DevBroker) -> None:
        path = write(b'{"n": 1}\nnonsense\n' * 300)
        report = publish_file("orders", path, self.told(threaded_broker))
        assert report.published == 300
        assert [number for number, _ in report.refused] == list(range(2, 601, 2))
        assert topics_of(threaded_broker.http_address)["orders"]["message_count"] == 300

    def test_channels_are_made_first_so_that_none_misses_a_line(
        self, write: Write, threaded_broker: DevBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "feed_handlers.py").write_text(
            "from dataclasses import dataclass\n"
            "from nsqkit import Context, Handler, event\n"
            "@event('feed.happened', version=1, topic='fed')\n"
            "@dataclass\n"
            "class Happened:\n"
            "    n: int\n"
            "class One(Handler[Happened], channel='one'):\n"
            "    async def handle(self, event: Happened, ctx: Context) -> None: ...\n"
            "class Two(Handler[Happened], channel='two', dead_letters=False):\n"
            "    async def handle(self, event: Happened, ctx: Context) -> None: ...\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        publish_file("fed", write(b'{"n": 1}\n'), self.told(threaded_broker), channels_for=["feed_handlers"])
        sys.modules.pop("feed_handlers")
        found = topics_of(threaded_broker.http_address)
        assert {each["channel_name"]: each["depth"] for each in found["fed"]["channels"]} == {
            "one": 1,
            "two": 1,
        }
        assert set(found) == {"fed", "fed.one.retry"}

    def test_modules_that_cannot_be_loaded_are_told_before_anything_is_sent(
        self, write: Write, threaded_broker: DevBroker
    ) -> None:
        with pytest.raises(LoadError, match="no_such_module"):
            publish_file(
                "orders", write(b'{"n": 1}\n'), self.told(threaded_broker), channels_for=["no_such_module"]
            )
        assert "orders" not in topics_of(threaded_broker.http_address)

    def test_without_an_nsqd_the_flag_is_named(self, write: Write) -> None:
        with pytest.raises(SettingsError, match="--nsqd"):
            publish_file("orders", write(b""), Settings())


class TestPublishOne:
    """The command ``nsqkit publish TOPIC JSON``."""

    def test_it_is_in_nsqd(self, threaded_broker: DevBroker) -> None:
        publish_one("orders", b'{"n": 1}', Settings(nsqd=(threaded_broker.tcp_address,)))
        assert asyncio.run(take(threaded_broker.tcp_address, "orders", 1)) == [b'{"n": 1}']

    def test_it_can_be_deferred(self, threaded_broker: DevBroker) -> None:
        settings = Settings(nsqd=(threaded_broker.tcp_address,))
        publish_one("orders", b'{"n": 1}', settings)
        asyncio.run(take(threaded_broker.tcp_address, "orders", 1))
        publish_one("orders", b'{"n": 2}', settings, defer_s=3600.0)
        (channel,) = topics_of(threaded_broker.http_address)["orders"]["channels"]
        assert channel["deferred_count"] == 1

    def test_an_nsqd_that_is_not_there_is_an_error_at_once(self) -> None:
        with pytest.raises(PublishError, match=r"127\.0\.0\.1:1"):
            publish_one("orders", b"{}", Settings(nsqd=(NOBODY,), connect_timeout_s=1.0))


async def test_channels_are_made_in_order_and_only_once(broker: DevBroker) -> None:
    publishers = PublisherPool(ConnectionOptions())
    for _ in range(2):
        await make_channels([("orders", "one"), ("orders", "two")], publishers, broker.tcp_address)
    await publishers.publish(broker.tcp_address, "orders", json.dumps({}).encode())
    stats = await asyncio.to_thread(topics_of, broker.http_address)
    assert [each["depth"] for each in stats["orders"]["channels"]] == [1, 1]
    await publishers.close()


def test_a_topic_that_no_handler_reads_is_told_with_the_closest() -> None:
    subscriptions = [("parcels", "ship"), ("parcels.ship.retry", "ship")]
    assert unread_problem("parcels", subscriptions) is None
    assert unread_problem("parcels.ship.retry", subscriptions) is None
    told = unread_problem("parcel", subscriptions)
    assert told == "no handler here reads topic 'parcel'; did you mean 'parcels'?"
