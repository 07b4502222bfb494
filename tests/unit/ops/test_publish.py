"""Publish: one message or a file of them is in nsqd when the command ends."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nsqkit import LoadError, PublishError, Settings, SettingsError
from nsqkit.devbroker import DevBroker
from nsqkit.ops.publish import publish_file, publish_one, repeat_feeds
from tests.unit.reading import take, topics_of
from tests.waiting import until

NOBODY = "127.0.0.1:1"
Write = Callable[[bytes], Path]


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


class TestRepeatFeeds:
    """Feeds of `nsqkit run` with the setting ``feed_rate``."""

    async def test_a_file_is_published_again_and_again(
        self, write: Write, threaded_broker: DevBroker, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = Settings(nsqd=(threaded_broker.tcp_address,), feed_rate=1000.0)
        feeds = [("again", write(b'{"n": 1}\n{"n": 2}\n'))]
        repeating = asyncio.create_task(repeat_feeds(feeds, settings))

        def published() -> int:
            topic = topics_of(threaded_broker.http_address).get("again", {})
            return int(topic.get("message_count", 0))

        await until(lambda: asyncio.to_thread(published), lambda count: count > 4)
        repeating.cancel()
        await asyncio.wait({repeating})
        assert repeating.cancelled()
        assert caplog.records == []

    @pytest.mark.parametrize("feed_rate", [pytest.param(0.0, id="none"), pytest.param(5.0, id="no feed")])
    async def test_without_a_rate_or_a_feed_it_ends(self, tmp_path: Path, feed_rate: float) -> None:
        feeds = [] if feed_rate else [("again", tmp_path)]
        await repeat_feeds(feeds, Settings(feed_rate=feed_rate))


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
