"""Discover: what is a topic of dead letters, where it is, and what waits there."""

import pytest

from nsqkit import Settings, SettingsError
from nsqkit.dead_letters.backlog import TopicBacklog, find_backlog, wanted_topics
from nsqkit.devbroker import DevBroker
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.discovery import Source
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.policy.names import dead_topic
from tests.unit.nsq.fake_http import FakeHttp

NOBODY = "127.0.0.1:1"


def told(broker: DevBroker) -> Settings:
    return Settings(nsqd=(broker.tcp_address,), nsqd_http=(broker.http_address,))


async def test_what_waits_is_counted_and_nobody_reads_it(
    broker: DevBroker, publishers: PublisherPool
) -> None:
    address = broker.tcp_address
    await publishers.ensure_channel(address, "orders.payments.dead", "dead")
    await publishers.publish_many(address, "orders.payments.dead", [b"a", b"b"])
    await publishers.ensure_channel(address, "orders.notify.dead", "dead")
    found = await find_backlog(told(broker))
    assert found.failures == ()
    assert found.topics == {
        Source(address, "orders.payments.dead"): TopicBacklog(2, 0),
        Source(address, "orders.notify.dead"): TopicBacklog(0, 0),
    }


async def test_who_reads_is_counted(broker: DevBroker) -> None:
    connection = Connection(broker.tcp_address, ConnectionOptions())
    await connection.open()
    await connection.subscribe("orders.payments.dead", "dead")
    found = await find_backlog(told(broker))
    assert list(found.topics.values()) == [TopicBacklog(0, 1)]
    connection.close()


async def test_topics_of_others_are_none_of_its_business(
    broker: DevBroker, publishers: PublisherPool
) -> None:
    """Reading them would take their messages, or make a channel that fills up."""
    address = broker.tcp_address
    await publishers.ensure_channel(address, "walking.dead", "viewers")
    await publishers.publish(address, "sleeping.dead", b"no channel")
    await publishers.ensure_channel(address, "orders", "dead")
    assert (await find_backlog(told(broker))).topics == {}


@pytest.mark.parametrize(
    "stats",
    [
        pytest.param({}, id="no topics"),
        pytest.param({"topics": 5}, id="topics that are no list"),
        pytest.param({"topics": [5]}, id="a topic that is no object"),
        pytest.param({"topics": [{"topic_name": 5, "channels": []}]}, id="a name that is no text"),
        pytest.param({"topics": [{"topic_name": "a.b.dead"}]}, id="no channels"),
        pytest.param({"topics": [{"topic_name": "a.b.dead", "channels": []}]}, id="no depth"),
        pytest.param({"topics": [{"topic_name": "a.b.dead", "channels": [], "depth": ""}]}, id="a bad depth"),
    ],
)
async def test_an_nsqd_that_answers_anything_hides_no_other(
    broker: DevBroker, publishers: PublisherPool, stats: object
) -> None:
    await publishers.publish(broker.tcp_address, "orders.payments.dead", b"a")
    async with FakeHttp((200, stats)) as hostile:
        settings = Settings(
            nsqd=(NOBODY, broker.tcp_address), nsqd_http=(hostile.address, broker.http_address)
        )
        found = await find_backlog(settings)
    assert found.topics == {Source(broker.tcp_address, "orders.payments.dead"): TopicBacklog(1, 0)}
    assert len(found.failures) == 1


async def test_a_name_that_no_topic_can_have_is_left_out() -> None:
    """To subscribe to it would end the collector."""
    bad = {"topic_name": "a b.c.dead", "channels": [], "depth": 1}
    async with FakeHttp((200, {"topics": [bad]})) as hostile:
        found = await find_backlog(Settings(nsqd=(NOBODY,), nsqd_http=(hostile.address,)))
    assert (found.topics, found.failures) == ({}, ())


async def test_a_topic_that_has_lost_its_channel_counts(broker: DevBroker, publishers: PublisherPool) -> None:
    """Its nsqd came back without its data, and a worker published before it knew."""
    address = broker.tcp_address
    await publishers.publish(address, "orders.payments.dead", b"no channel")
    found = await find_backlog(told(broker))
    assert found.topics == {Source(address, "orders.payments.dead"): TopicBacklog(1, 0)}


async def test_an_nsqd_that_cannot_be_asked_is_told_and_the_others_are_asked(
    broker: DevBroker, publishers: PublisherPool
) -> None:
    await publishers.ensure_channel(broker.tcp_address, "orders.payments.dead", "dead")
    settings = Settings(nsqd=(broker.tcp_address, NOBODY), nsqd_http=(broker.http_address, NOBODY))
    found = await find_backlog(settings)
    assert list(found.topics) == [Source(broker.tcp_address, "orders.payments.dead")]
    (failure,) = found.failures
    assert f"nsqd {NOBODY}" in failure
    assert "--nsqd-http" in failure


async def test_an_nsqlookupd_that_cannot_be_asked_is_told() -> None:
    (failure,) = (await find_backlog(Settings(lookupd=(NOBODY,)))).failures
    assert "nsqlookupd" in failure


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param([], None, id="nothing is all"),
        pytest.param(["all"], None, id="all"),
        pytest.param(["orders/payments"], {"orders.payments.dead"}, id="topic and channel"),
        pytest.param(["orders/a.b"], {dead_topic("orders", "a.b")}, id="names that are derived with a hash"),
        pytest.param(
            ["orders/payments", "x.y.dead"], {"orders.payments.dead", "x.y.dead"}, id="the topic itself"
        ),
    ],
)
def test_whose_dead_letters_are_wanted(given: list[str], expected: set[str] | None) -> None:
    assert wanted_topics(given) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param("orders", r"give TOPIC/CHANNEL, the name of a topic\.dead, or all", id="a topic alone"),
        pytest.param("a b/c", "has characters outside", id="a bad topic"),
        pytest.param("a/b/c", "has characters outside", id="a bad channel"),
        pytest.param("a b.dead", "has characters outside", id="a bad name"),
    ],
)
def test_what_cannot_be_is_told(given: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        wanted_topics([given])
