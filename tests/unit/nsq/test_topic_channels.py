"""Topic channels: a topic is not brought back, and all channels exist before messages flow."""

from collections.abc import AsyncIterator

import pytest

from nsqkit.devbroker import DevBroker
from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq import http
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.topic_channels import TopicAbsentError, TopicChannels
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
    await channels.create(broker.http_address, "orders", may_create=False)
    assert depths(broker, "orders") == {"stock": 3, "mail": 3}
    assert not broker.ledger.topics["orders"].paused


async def test_a_topic_that_has_channels_is_not_paused(
    broker: DevBroker, channels: TopicChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NsqdHttp, "pause_topic", None)
    broker.ledger.channel("orders", "stock", now_s=0.0)
    publish(broker, "orders")
    await channels.create(broker.http_address, "orders", may_create=True)
    assert depths(broker, "orders") == {"stock": 3, "mail": 0}


async def test_a_paused_topic_stays_paused(broker: DevBroker, channels: TopicChannels) -> None:
    publish(broker, "orders")
    broker.ledger.pause_topic("orders", paused=True, now_s=0.0)
    await channels.create(broker.http_address, "orders", may_create=True)
    assert depths(broker, "orders") == {"stock": 0, "mail": 0}
    assert broker.ledger.topics["orders"].paused


@pytest.mark.parametrize("topic", ["orders", "bills", "others"])
async def test_an_absent_topic_that_may_not_be_created_is_an_error(
    broker: DevBroker, channels: TopicChannels, topic: str
) -> None:
    """However many channels the worker has on it."""
    with pytest.raises(TopicAbsentError, match=f"{broker.http_address}: it does not have topic '{topic}'"):
        await channels.create(broker.http_address, topic, may_create=False)
    assert broker.ledger.topics == {}
    publish(broker, topic)
    await channels.create(broker.http_address, topic, may_create=False)


async def test_an_absent_topic_that_may_be_created_is_created(
    broker: DevBroker, channels: TopicChannels
) -> None:
    await channels.create(broker.http_address, "orders", may_create=True)
    assert depths(broker, "orders") == {"stock": 0, "mail": 0}


@pytest.mark.parametrize("topic", ["bills", "others"])
async def test_a_single_channel_is_left_to_its_subscription(topic: str, channels: TopicChannels) -> None:
    async with FakeHttp((200, {})) as server:
        await channels.create(server.address, topic, may_create=True)
        assert server.requests == []


async def test_whether_a_topic_exists_is_asked_for_a_single_channel_too_and_nothing_is_created(
    broker: DevBroker, channels: TopicChannels
) -> None:
    publish(broker, "bills")
    await channels.create(broker.http_address, "bills", may_create=False)
    assert depths(broker, "bills") == {}
    assert channels.pauses == 0


async def test_for_a_single_channel_a_failure_means_nothing_and_is_not_logged(
    channels: TopicChannels, log: RecordingLog
) -> None:
    await channels.create("127.0.0.1:1", "bills", may_create=False)
    assert log.lines == []


async def test_a_failure_is_logged_once_for_each_topic(channels: TopicChannels, log: RecordingLog) -> None:
    for _ in range(2):
        await channels.create("127.0.0.1:1", "orders", may_create=True)
    assert [(event, fields["topic"]) for _, event, fields in log.lines] == [
        ("channels_not_created", "orders")
    ]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"topics": 5},
        {"topics": [5]},
        {"topics": [{}]},
        {"topics": [{"topic_name": "orders", "channels": None}]},
    ],
)
@pytest.mark.parametrize("may_create", [False, True])
async def test_an_answer_of_something_else_is_a_failure(
    channels: TopicChannels, log: RecordingLog, answer: object, *, may_create: bool
) -> None:
    async with FakeHttp((200, answer)) as server:
        await channels.create(server.address, "orders", may_create=may_create)
    assert [event for _, event, _ in log.lines] == ["channels_not_created"]


async def test_a_topic_is_not_left_paused(
    broker: DevBroker, channels: TopicChannels, monkeypatch: pytest.MonkeyPatch, log: RecordingLog
) -> None:
    async def fail(self: NsqdHttp, topic: str, *_: str) -> None:
        raise ConnectionLostError(self.address, "no answer")

    publish(broker, "orders")
    with monkeypatch.context() as patch:
        patch.setattr(NsqdHttp, "add_channel", fail)
        await channels.create(broker.http_address, "orders", may_create=False)
        assert not is_paused(broker)
        assert [event for _, event, _ in log.lines] == ["channels_not_created"]
        patch.setattr(NsqdHttp, "unpause_topic", fail)
        with pytest.raises(ConnectionLostError):
            await channels.create(broker.http_address, "orders", may_create=False)
    assert is_paused(broker)
    assert channels.pauses is None
    await channels.create(broker.http_address, "orders", may_create=False)
    assert not is_paused(broker)
    assert depths(broker, "orders") == {"stock": 3, "mail": 3}


async def test_a_topic_that_may_be_paused_and_a_broken_answer_are_a_lost_connection(
    broker: DevBroker, channels: TopicChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: NsqdHttp, topic: str) -> None:
        raise ConnectionLostError(self.address, "no answer")

    async def answer(*_: object, **__: object) -> bytes:
        return b"{}"

    publish(broker, "orders")
    with monkeypatch.context() as patch:
        patch.setattr(NsqdHttp, "unpause_topic", fail)
        with pytest.raises(ConnectionLostError):
            await channels.create(broker.http_address, "orders", may_create=False)
        patch.setattr(http, "fetch", answer)
        with pytest.raises(ConnectionLostError, match="statistics of nsqd"):
            await channels.create(broker.http_address, "orders", may_create=False)
    await channels.create(broker.http_address, "orders", may_create=False)
    assert not is_paused(broker)


async def test_a_topic_that_is_deleted_meanwhile_is_no_failure_of_the_connection(
    broker: DevBroker, channels: TopicChannels, monkeypatch: pytest.MonkeyPatch, log: RecordingLog
) -> None:
    async def delete(self: NsqdHttp, topic: str, *_: str) -> None:
        broker.ledger.delete_topic(topic)
        raise RefusedError(self.address, "TOPIC_NOT_FOUND", "")

    monkeypatch.setattr(NsqdHttp, "add_channel", delete)
    publish(broker, "orders")
    await channels.create(broker.http_address, "orders", may_create=False)
    assert "orders" not in broker.ledger.topics
    assert [event for _, event, _ in log.lines] == ["channels_not_created"]


async def test_a_topic_that_was_deleted_is_not_left_paused(
    broker: DevBroker, channels: TopicChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: NsqdHttp, topic: str) -> None:
        raise ConnectionLostError(self.address, "no answer")

    publish(broker, "orders")
    monkeypatch.setattr(NsqdHttp, "unpause_topic", fail)
    with pytest.raises(ConnectionLostError):
        await channels.create(broker.http_address, "orders", may_create=False)
    broker.ledger.delete_topic("orders")
    with pytest.raises(TopicAbsentError):
        await channels.create(broker.http_address, "orders", may_create=False)
    assert channels.pauses is not None
