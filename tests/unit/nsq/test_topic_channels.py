"""Topic channels: all of a worker's channels on a topic exist before messages flow."""

from collections.abc import AsyncIterator

import pytest

from nsqkit.devbroker import DevBroker
from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.topic_channels import TopicChannels
from tests.unit.nsq.fake_http import FakeHttp
from tests.unit.nsq.recording_log import RecordingLog
from tests.waiting import PATIENCE_S

PAIRS = (("orders", "stock"), ("orders", "mail"), ("bills", "stock"))


@pytest.fixture
async def broker() -> AsyncIterator[DevBroker]:
    broker = DevBroker(0, 0)
    await broker.start()
    yield broker
    await broker.stop()


@pytest.fixture
def log() -> RecordingLog:
    return RecordingLog()


@pytest.fixture
def channels(log: RecordingLog) -> TopicChannels:
    return TopicChannels(PAIRS, timeout_s=PATIENCE_S, log=log)


def publish(broker: DevBroker, topic: str) -> None:
    broker.ledger.publish(topic, [b"{}"] * 3, timestamp_ns=0, now_s=0.0)


def depths(broker: DevBroker, topic: str) -> dict[str, int]:
    """Return how many messages each channel has got."""
    return {name: channel.message_count for name, channel in broker.ledger.topics[topic].channels.items()}


def is_paused(broker: DevBroker) -> bool:
    return broker.ledger.topics["orders"].paused


async def test_the_backlog_reaches_every_channel(broker: DevBroker, channels: TopicChannels) -> None:
    publish(broker, "orders")
    await channels.create(broker.http_address, "orders", is_configured=False)
    assert depths(broker, "orders") == {"stock": 3, "mail": 3}
    assert not broker.ledger.topics["orders"].paused


async def test_a_topic_that_has_channels_is_not_paused(
    broker: DevBroker, channels: TopicChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NsqdHttp, "pause_topic", None)
    broker.ledger.channel("orders", "stock", now_s=0.0)
    publish(broker, "orders")
    await channels.create(broker.http_address, "orders", is_configured=True)
    assert depths(broker, "orders") == {"stock": 3, "mail": 0}


async def test_a_paused_topic_stays_paused(broker: DevBroker, channels: TopicChannels) -> None:
    publish(broker, "orders")
    broker.ledger.pause_topic("orders", paused=True, now_s=0.0)
    await channels.create(broker.http_address, "orders", is_configured=True)
    assert depths(broker, "orders") == {"stock": 0, "mail": 0}
    assert broker.ledger.topics["orders"].paused


async def test_a_topic_is_created_only_on_a_configured_nsqd(
    broker: DevBroker, channels: TopicChannels
) -> None:
    await channels.create(broker.http_address, "orders", is_configured=False)
    assert broker.ledger.topics == {}
    await channels.create(broker.http_address, "orders", is_configured=True)
    assert depths(broker, "orders") == {"stock": 0, "mail": 0}


@pytest.mark.parametrize("topic", ["bills", "others"])
async def test_a_single_channel_is_left_to_its_subscription(topic: str, channels: TopicChannels) -> None:
    async with FakeHttp((200, {})) as server:
        await channels.create(server.address, topic, is_configured=True)
        assert server.requests == []


async def test_a_failure_is_logged_once_for_each_topic(channels: TopicChannels, log: RecordingLog) -> None:
    for _ in range(2):
        await channels.create("127.0.0.1:1", "orders", is_configured=True)
    assert [(event, fields["topic"]) for _, event, fields in log.lines] == [
        ("channels_not_created", "orders")
    ]


@pytest.mark.parametrize("topics", [5, [5], [{}], [{"topic_name": "orders", "channels": None}]])
async def test_an_answer_of_something_else_is_a_failure(
    channels: TopicChannels, log: RecordingLog, topics: object
) -> None:
    async with FakeHttp((200, {"topics": topics})) as server:
        await channels.create(server.address, "orders", is_configured=True)
    assert [event for _, event, _ in log.lines] == ["channels_not_created"]


async def test_a_topic_is_not_left_paused(
    broker: DevBroker, channels: TopicChannels, monkeypatch: pytest.MonkeyPatch, log: RecordingLog
) -> None:
    async def fail(self: NsqdHttp, topic: str, *_: str) -> None:
        raise ConnectionLostError(self.address, "no answer")

    publish(broker, "orders")
    with monkeypatch.context() as patch:
        patch.setattr(NsqdHttp, "add_channel", fail)
        await channels.create(broker.http_address, "orders", is_configured=False)
        assert not is_paused(broker)
        assert [event for _, event, _ in log.lines] == ["channels_not_created"]
        patch.setattr(NsqdHttp, "unpause_topic", fail)
        with pytest.raises(ConnectionLostError):
            await channels.create(broker.http_address, "orders", is_configured=False)
    assert is_paused(broker)
    await channels.create(broker.http_address, "orders", is_configured=False)
    assert not is_paused(broker)
    assert depths(broker, "orders") == {"stock": 3, "mail": 3}


async def test_a_topic_that_is_deleted_meanwhile_is_no_failure_of_the_connection(
    broker: DevBroker, channels: TopicChannels, monkeypatch: pytest.MonkeyPatch, log: RecordingLog
) -> None:
    async def delete(self: NsqdHttp, topic: str, *_: str) -> None:
        broker.ledger.delete_topic(topic)
        raise RefusedError(self.address, "TOPIC_NOT_FOUND", "")

    monkeypatch.setattr(NsqdHttp, "add_channel", delete)
    publish(broker, "orders")
    await channels.create(broker.http_address, "orders", is_configured=False)
    assert "orders" not in broker.ledger.topics
    assert [event for _, event, _ in log.lines] == ["channels_not_created"]
