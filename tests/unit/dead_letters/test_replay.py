"""Replay: to the handler's own retry topic, byte by byte, and marked only when nsqd has it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nsqkit import PublishError, Settings, SettingsError
from nsqkit.dead_letters import replay as module
from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.replay import Replay, Target, plan, replay
from nsqkit.dead_letters.store import Store
from nsqkit.devbroker import DevBroker
from nsqkit.errors import DeadLetterStoreError, ReplayError
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.policy.names import dead_topic, retry_topic
from tests.unit.dead_letters.letters import BODY, letter
from tests.unit.reading import take, topics
from tests.waiting import PATIENCE_S

NOBODY = "127.0.0.1:1"
ALL = Filters()
RETRY = "orders.payments.retry"


@pytest.fixture
async def other() -> AsyncIterator[DevBroker]:
    broker = DevBroker(tcp_port=0, http_port=0)
    await broker.start()
    yield broker
    await broker.stop()


async def send(
    store: Store, publishers: PublisherPool, *ids: int, settings: Settings | None = None, **options: Any
) -> int:
    found = settings or Settings(connect_timeout_s=1.0)
    body = options.pop("body", None)
    return await Replay(store, found, publishers, body=body).run(
        ids or store.ids(ALL), **{"stop": asyncio.Event(), **options}
    )


def replays(store: Store) -> dict[int, int]:
    return {each.id: each.replays for each in store.find(ALL)}


class Refusing:
    """A pool that confirms so many publishes."""

    def __init__(self, publishers: PublisherPool, confirmed: int) -> None:
        self.ensure_channel = publishers.ensure_channel
        self._left = confirmed

    async def publish(self, address: str, topic: str, _body: bytes) -> None:
        self._left -= 1
        if self._left < 0:
            raise PublishError(topic, address, "no OK within 10 s", False)


async def test_it_goes_to_the_retry_topic_alone_byte_by_byte_and_is_marked(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    body = bytes(range(256))
    store.add([letter(1, nsqd=broker.tcp_address, body=body)])
    assert await send(store, publishers) == 1
    assert set(await topics(broker.http_address)) == {RETRY}
    assert await take(broker.tcp_address, RETRY, 1, "payments") == [body]
    (stored,) = store.find(ALL)
    assert stored.replays == 1
    assert stored.replayed_at is not None


async def test_it_waits_on_the_handlers_channel_where_no_worker_is_subscribed(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    store.add([letter(1, nsqd=broker.tcp_address)])
    await send(store, publishers)
    retry = (await topics(broker.http_address))[RETRY]
    assert [(each["channel_name"], each["depth"]) for each in retry["channels"]] == [("payments", 1)]
    assert retry["depth"] == 0


async def test_each_goes_to_the_nsqd_that_it_came_from_in_the_order_of_their_ends(
    broker: DevBroker, other: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    store.add(
        [
            letter(1, nsqd=broker.tcp_address, body=b"late", dead_at="2026-01-01T00:09:00.000000Z"),
            letter(2, nsqd=broker.tcp_address, body=b"early"),
            letter(3, nsqd=other.tcp_address, body=b"else"),
        ]
    )
    assert await send(store, publishers) == 3
    assert await take(broker.tcp_address, RETRY, 2, "payments") == [b"early", b"late"]
    assert await take(other.tcp_address, RETRY, 1, "payments") == [b"else"]


async def test_where_that_nsqd_is_gone_another_one_takes_it(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    store.add([letter(1, nsqd=NOBODY), letter(2, nsqd=NOBODY)])
    settings = Settings(nsqd=(NOBODY, broker.tcp_address), connect_timeout_s=1.0)
    assert await send(store, publishers, settings=settings) == 2
    assert await take(broker.tcp_address, RETRY, 2, "payments") == [BODY, BODY]


async def test_where_there_is_no_other_nothing_is_marked(publishers: PublisherPool, store: Store) -> None:
    store.add([letter(1, nsqd=NOBODY)])
    with pytest.raises(
        ReplayError, match=r"stopped with 0 of 1 .*refused; give another nsqd with --nsqd or --lookupd"
    ):
        await send(store, publishers)
    assert replays(store) == {1: 0}


async def test_a_body_in_the_place_of_its_own(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    store.add([letter(1, nsqd=broker.tcp_address)])
    assert await send(store, publishers, body=b"mended") == 1
    assert await take(broker.tcp_address, RETRY, 1, "payments") == [b"mended"]
    assert [each.letter.body for each in store.find(ALL)] == [BODY]


async def test_it_stops_at_the_first_that_is_not_confirmed_and_says_how_many_were(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    store.add([letter(number, nsqd=broker.tcp_address) for number in range(1, 6)])
    refusing: Any = Refusing(publishers, confirmed=3)
    with pytest.raises(ReplayError, match=r"^stopped with 3 of 5 .*no OK within 10 s$"):
        await send(store, refusing, rate=10_000.0)
    assert sum(replays(store).values()) == 3


async def test_a_body_that_nsqd_refuses_is_no_reason_to_mark_it(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    store.add([letter(1, nsqd=broker.tcp_address, body=b"x" * 2_000_000)])
    with pytest.raises(ReplayError, match="E_BAD_MESSAGE"):
        await send(store, publishers)
    assert replays(store) == {1: 0}


async def test_a_mark_that_cannot_be_made_is_told(
    broker: DevBroker, publishers: PublisherPool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mark_replayed(*_: object) -> None:
        raise DeadLetterStoreError("dead.sqlite", "disk full")

    store.add([letter(1, nsqd=broker.tcp_address)])
    monkeypatch.setattr(store, "mark_replayed", mark_replayed)
    with pytest.raises(ReplayError, match=r"stopped with 1 of 1 .*disk full"):
        await send(store, publishers)


async def test_with_a_rate_a_tenth_of_a_second_goes_out_at_a_time(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    store.add([letter(number, nsqd=broker.tcp_address) for number in range(1, 6)])
    done: list[tuple[int, int]] = []
    assert await send(store, publishers, rate=20.0, on_progress=lambda *each: done.append(each)) == 5
    assert done == [(2, 5), (4, 5), (5, 5)]


async def test_a_signal_ends_it_between_two_messages(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    store.add([letter(number, nsqd=broker.tcp_address) for number in range(1, 4)])
    stop = asyncio.Event()
    async with asyncio.timeout(PATIENCE_S):
        assert await send(store, publishers, rate=0.001, stop=stop, on_progress=lambda *_: stop.set()) == 1
    assert sum(replays(store).values()) == 1


class TestPlan:
    """What would go where."""

    def test_counts_by_topic_and_nsqd(self, store: Store) -> None:
        notify = letter(4, channel="notify", dead_topic=dead_topic("orders", "notify"))
        store.add([letter(1), letter(2), letter(3, nsqd="b:4150"), notify])
        assert plan(store.ids(ALL), store) == Counter(
            {
                Target(RETRY, "payments", "a:4150"): 2,
                Target(RETRY, "payments", "b:4150"): 1,
                Target("orders.notify.retry", "notify", "a:4150"): 1,
            }
        )

    def test_more_than_fit_into_one_question(self, store: Store) -> None:
        store.add([letter(number) for number in range(250)])
        assert plan(store.ids(ALL), store).total() == 250

    @pytest.mark.parametrize(
        "own",
        [pytest.param(("a", "x"), id="a plain name"), pytest.param(("a", "x.y"), id="a name with a hash")],
    )
    def test_a_forged_record_goes_only_to_the_handler_of_its_dead_letter_topic(
        self, store: Store, own: tuple[str, str]
    ) -> None:
        """Who may publish on one dead-letter topic must not reach the handlers of other topics."""
        topic = dead_topic(*own)
        store.add([letter(1, dead_topic=topic, topic="payments", channel="charge")])
        store.add([letter(2, dead_topic=topic, topic=own[0], channel=own[1])])
        assert plan([1, 2], store) == Counter({Target(retry_topic(*own), own[1], "a:4150"): 2})

    def test_a_forged_record_of_an_unknown_handler_is_refused_by_its_number(self, store: Store) -> None:
        store.add([letter(1, dead_topic=dead_topic("a", "x.y"), topic="payments", channel="charge")])
        with pytest.raises(SettingsError, match="dead letter 1 names payments/charge, whose"):
            plan([1], store)

    def test_a_body_alone_goes_where_the_records_of_its_topic_go(self, store: Store) -> None:
        topic = dead_topic("orders", "a.b")
        lone = letter(1, dead_topic=topic, is_record=False, topic="", channel="")
        store.add([lone])
        with pytest.raises(SettingsError, match=r"dead letter 1 is only a body.*does not contain the topic"):
            plan([1], store)
        store.add([letter(2, dead_topic=topic, topic="orders", channel="a.b")])
        (target,) = plan([1], store)
        assert target.channel == "a.b"


def test_with_a_loop_of_its_own(threaded_broker: DevBroker, tmp_path: Path) -> None:
    with Store(tmp_path / "dead.sqlite", make=True) as store:
        store.add([letter(1, nsqd=threaded_broker.tcp_address)])
        assert replay([1], store, Settings()) == 1
        assert module.plan([1], store).total() == 1
    assert asyncio.run(take(threaded_broker.tcp_address, RETRY, 1, "payments")) == [BODY]
