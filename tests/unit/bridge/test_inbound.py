"""A route to NSQ: nsqd confirms, or the store has it, before the source hears that a record is done."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nsqkit.admin import IntakeState
from nsqkit.bridge import inbound as inbound_module
from nsqkit.bridge.inbound import Inbound
from nsqkit.bridge.record import Record
from nsqkit.bridge.route import Route
from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.replay import Replay, target_of
from nsqkit.dead_letters.store import Store
from nsqkit.devbroker import DevBroker
from nsqkit.errors import BridgeError, OutageError
from nsqkit.nsq.http import NsqdHttp, fetch
from nsqkit.nsq.options import connection_options
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.policy.depth_limit import depth_in
from nsqkit.policy.retry import Exponential
from nsqkit.settings.settings import Settings
from nsqkit.worker.parts import CompanionParts
from nsqkit.worker.worker import Worker
from tests.fake_brokers import FakeSource
from tests.ports import free_port
from tests.unit.bridge.conftest import MakeRoute
from tests.waiting import until

KAFKA = "kafka://kafka.example:9092/sold?group=shop"
ORDER = b'{"order_id": 1}'
SOON = Exponential(base_s=0.01, max_s=0.01)
Start = Callable[..., Any]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound_module, "AWAY", SOON)
    monkeypatch.setattr(inbound_module, "BLOCKED", SOON)


@pytest.fixture
def settings(broker: DevBroker, tmp_path: Path) -> Settings:
    store = str(tmp_path / "dead.sqlite")
    return Settings(
        nsqd=(broker.tcp_address,),
        nsqd_http=(broker.http_address,),
        admin_port=0,
        dead_store=store,
        grace_s=1.0,
    )


@asynccontextmanager
async def running(route: Route, source: FakeSource, settings: Settings) -> AsyncIterator[Worker]:
    """Run a worker with one route to NSQ."""

    def make(parts: CompanionParts) -> Inbound:
        return Inbound(route, source, parts)

    async with Worker([], settings=settings, companions=[make]) as worker:
        yield worker


def _record(position: int = 0, body: bytes | None = ORDER, **more: Any) -> Record:
    return Record(body=body, origin="sold[0]", position=position, **more)


async def _depth(broker: DevBroker, topic: str) -> int:
    return await NsqdHttp(broker.http_address).read_stats(lambda stats: depth_in(stats, topic), topic)


def _summary(worker: Worker) -> dict[str, Any]:
    (row,) = worker.metrics.summary()
    return {
        "received": row.received,
        "success": row.success,
        "dead": row.dead_lettered,
        "skipped": row.discarded,
    }


async def test_a_record_is_confirmed_after_nsqd_has_it(
    broker: DevBroker, settings: Settings, make_route: MakeRoute
) -> None:
    source = FakeSource([_record(1), _record(2)])
    async with running(make_route(KAFKA, "nsq:in_confirmed"), source, settings) as worker:
        await worker.wait_ready()
        assert [each.position for each in await source.wait_confirmed(2)] == [1, 2]
        assert await _depth(broker, "in_confirmed") == 2
        assert _summary(worker) == {"received": 2, "success": 2, "dead": 0, "skipped": 0}
        assert worker.problems() == ()
    assert source.is_closed


async def test_nothing_is_confirmed_while_nsqd_is_away(
    settings: Settings, broker: DevBroker, make_route: MakeRoute
) -> None:
    address = broker.tcp_address
    await broker.stop()
    source = FakeSource([_record()])
    async with running(make_route(KAFKA, "nsq:in_away"), source, settings) as worker:
        await until(worker.problems, lambda problems: any(address in each for each in problems))
        assert source.confirmed == []
        assert worker.live()


async def test_a_batch_under_way_is_left_to_its_source_when_the_worker_stops(
    settings: Settings, broker: DevBroker, make_route: MakeRoute
) -> None:
    await broker.stop()
    source = FakeSource([_record()])
    async with running(make_route(KAFKA, "nsq:in_stopped"), source, settings) as worker:
        await until(lambda: worker.held)
    assert (source.confirmed, source.is_closed) == ([], True)


async def test_what_nsq_cannot_take_is_stored_and_then_confirmed(
    settings: Settings, make_route: MakeRoute
) -> None:
    """It is stored once, however often Kafka delivers it, and the others of its batch pass."""
    unreadable = _record(3, headers=(("ce_specversion", b"1.0"), ("ce_id", b"7")))
    batch = [_record(1, None), _record(2, b""), unreadable, _record(4), _record(5, b"x" * 1_100_000)]
    source = FakeSource([*batch, _record(1, None)])
    async with running(make_route(KAFKA, "nsq:in_refused"), source, settings) as worker:
        await source.wait_confirmed(6)
        assert _summary(worker) == {"received": 6, "success": 1, "dead": 5, "skipped": 0}
    with Store(Path(settings.dead_store)) as store:
        letters = [each.letter for each in store.find(Filters(), newest_first=False)]
    assert [(each.reason, each.message_id) for each in letters] == [
        ("tombstone", "sold[0]@1"),
        ("empty", "sold[0]@2"),
        ("unreadable", "sold[0]@3"),
        ("too_large", "sold[0]@5"),
    ]
    assert {(each.place, each.handler, each.topic) for each in letters} == {
        ("kafka:sold", "carry", "in_refused")
    }
    assert "no type" in letters[2].detail
    assert "too big 1100000 > 1048576" in letters[3].detail


async def test_a_record_of_rabbitmq_is_stored_again_unless_it_is_a_redelivery(
    settings: Settings, make_route: MakeRoute
) -> None:
    """A delivery tag begins again with each connection, so it does not identify a message."""
    route = make_route("amqp://mq.example:5672/sold", "nsq:in_tags")
    first, again = (
        Record(body=b"", origin="sold", position=1, is_redelivered=each) for each in (False, True)
    )
    source = FakeSource([first])
    async with running(route, source, settings):
        await source.wait_confirmed(1)
        await source.put(again)
        await source.wait_confirmed(2)
        await source.put(first)
        await source.wait_confirmed(3)
    with Store(Path(settings.dead_store)) as store:
        assert store.count(Filters()) == 2


async def test_a_dead_letter_of_a_route_is_replayed_to_its_topic(
    broker: DevBroker, settings: Settings, make_route: MakeRoute
) -> None:
    source = FakeSource([_record(body=None)])
    async with running(make_route(KAFKA, "nsq:in_replayed"), source, settings):
        await source.wait_confirmed(1)
    publishers = PublisherPool(connection_options(settings))
    with Store(Path(settings.dead_store)) as store:
        (stored,) = store.find(Filters())
        assert target_of(stored, store).topic == "in_replayed"
        replay = Replay(store, settings, publishers, body=b"edited")
        assert await replay.run([stored.id], stop=asyncio.Event()) == 1
    await publishers.close()
    assert await _depth(broker, "in_replayed") == 1


async def test_a_store_that_cannot_be_written_stops_the_route(
    settings: Settings, make_route: MakeRoute, tmp_path: Path
) -> None:
    """The route is named as not ready, nothing is confirmed, and it goes on once the store can be written."""
    folder = tmp_path / "later"
    blocked = Settings(**{**_values(settings), "dead_store": str(folder / "dead.sqlite")})
    source = FakeSource([_record(body=None)])
    async with running(make_route(KAFKA, "nsq:in_blocked"), source, blocked) as worker:
        (problem,) = await until(worker.problems, lambda found: "cannot be created" in " ".join(found))
        assert problem.startswith("carry (kafka:sold): dead letters in ")
        (state,) = worker.handler_states()
        assert (state.state, worker.is_blocked, source.confirmed) == (IntakeState.BLOCKED, True, [])
        folder.mkdir()
        await source.wait_confirmed(1)
        await until(lambda: not worker.is_blocked)
        (state,) = worker.handler_states()
        assert (state.problems, "cannot be created" in state.last_error) == ((), True)


async def test_a_record_that_was_in_the_topic_before_is_skipped(
    broker: DevBroker, settings: Settings, make_route: MakeRoute
) -> None:
    came_back = _record(1, headers=(("nsqkit-via", b"other/x,here/in_skipped"),))
    elsewhere = _record(2, headers=(("nsqkit-via", b"here/another"),))
    source = FakeSource([came_back, elsewhere])
    async with running(make_route(KAFKA, "nsq:in_skipped"), source, settings) as worker:
        await source.wait_confirmed(2)
        assert _summary(worker) == {"received": 2, "success": 1, "dead": 0, "skipped": 1}
    assert await _depth(broker, "in_skipped") == 1


async def test_a_full_topic_pauses_the_source_until_it_has_been_read(
    broker: DevBroker, settings: Settings, make_route: MakeRoute
) -> None:
    source = FakeSource([_record(1), _record(2)])
    async with running(make_route(KAFKA, "nsq:in_full", max_depth=2), source, settings) as worker:
        await source.wait_confirmed(2)
        await until(lambda: source.is_paused)
        (state,) = worker.handler_states()
        assert state.state is IntakeState.PAUSED
        await NsqdHttp(broker.http_address).create_channel("in_full", "reader")
        async with asyncio.timeout(60):
            await _emptied(broker, "in_full")
            await until(lambda: not source.is_paused)


async def test_without_an_answer_of_nsqd_the_depth_is_a_problem(
    settings: Settings, make_route: MakeRoute
) -> None:
    """Messages go on until the limit, counted from the last answer."""
    silent = Settings(**{**_values(settings), "nsqd_http": (f"127.0.0.1:{free_port()}",)})
    source = FakeSource([_record(1), _record(2)])
    async with running(make_route(KAFKA, "nsq:in_unknown", max_depth=2), source, silent) as worker:
        (problem,) = await until(worker.problems)
        assert problem.endswith("no nsqd answers over HTTP; see nsqd_http")
        await source.wait_confirmed(2)
        assert source.is_paused


async def test_an_operator_pauses_and_resumes_a_route_by_its_name(
    settings: Settings, make_route: MakeRoute
) -> None:
    source = FakeSource()
    async with running(make_route(KAFKA, "nsq:in_paused"), source, settings) as worker:
        assert worker.pause_handler("carry", None)
        assert (source.is_paused, worker.handler_states()[0].state) == (True, IntakeState.PAUSED)
        assert worker.resume_handler("carry")
        assert not source.is_paused
        assert worker.pause_handler("carry", 0.01)
        await until(lambda: not source.is_paused)
        assert not worker.pause_handler("unknown", None)


async def test_a_broker_that_is_away_at_the_start_is_tried_again(
    settings: Settings, make_route: MakeRoute
) -> None:
    source = FakeSource([_record()])
    source.opening = [OutageError("kafka.example:9092: connection refused"), OutageError("still away")]
    async with running(make_route(KAFKA, "nsq:in_opened"), source, settings) as worker:
        await worker.wait_ready()
        await source.wait_confirmed(1)


async def test_what_only_a_person_can_correct_ends_the_start(
    settings: Settings, make_route: MakeRoute
) -> None:
    source = FakeSource()
    source.opening = [BridgeError("there is no topic 'sold'")]
    with pytest.raises(BridgeError, match="no topic 'sold'"):
        async with running(make_route(KAFKA, "nsq:in_wrong"), source, settings):
            pass
    assert source.is_closed


async def test_later_it_blocks_the_route_until_it_can_connect_again(
    settings: Settings, make_route: MakeRoute
) -> None:
    """It does so before the next record arrives."""
    source = FakeSource()
    source.reading = [BridgeError("the topic was deleted")]
    source.opening = [OutageError("away"), BridgeError("still deleted")]
    source.opening.insert(0, OutageError("away at the start"))
    async with running(make_route(KAFKA, "nsq:in_deleted"), source, settings) as worker:
        await until(lambda: not (source.opening or source.reading or worker.problems()))
        await source.put(_record())
        await source.wait_confirmed(1)


async def test_a_record_that_causes_any_error_holds_up_no_other(
    settings: Settings, make_route: MakeRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    def body_of(record: Record, route: Route) -> bytes:
        if record.position == 1:
            raise ZeroDivisionError("odd bytes")
        return record.body or b""

    monkeypatch.setattr(inbound_module, "body_of", body_of)
    source = FakeSource([_record(1), _record(2)])
    async with running(make_route(KAFKA, "nsq:in_odd"), source, settings) as worker:
        await source.wait_confirmed(2)
        assert _summary(worker) == {"received": 2, "success": 1, "dead": 1, "skipped": 0}
    with Store(Path(settings.dead_store)) as store:
        (stored,) = store.find(Filters())
    assert (stored.letter.reason, "ZeroDivisionError: odd bytes" in stored.letter.detail) == (
        "unreadable",
        True,
    )


async def test_a_connection_that_was_lost_is_the_last_error(
    settings: Settings, make_route: MakeRoute
) -> None:
    """While it is lost, the route is not ready and the metrics say so."""
    source = FakeSource()
    source.problems = ("kafka.example:9092: no broker answers",)
    async with running(make_route(KAFKA, "nsq:in_lost"), source, settings) as worker:
        assert worker.problems() == ("carry (kafka:sold): kafka.example:9092: no broker answers",)
        assert 'nsqkit_route_disconnected{route="carry"} 1' in b"".join(worker.metrics.exposition()).decode()
        await until(lambda: worker.handler_states()[0].last_error)
        source.problems = ()
        assert worker.problems() == ()
        assert worker.handler_states()[0].last_error.endswith(": kafka.example:9092: no broker answers")


async def test_each_record_that_nsqd_has_leaves_a_span(
    settings: Settings, make_route: MakeRoute, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, list[bytes]]] = []

    class Hops:
        def published(self, topic: str, bodies: Iterable[bytes], began_ns: int) -> None:
            made.append((topic, [*bodies]))

    monkeypatch.setattr(inbound_module, "hops", Hops)
    source = FakeSource([_record(1), _record(2, b"x" * 1_100_000), _record(3, None)])
    async with running(make_route(KAFKA, "nsq:in_traced"), source, settings):
        await source.wait_confirmed(3)
    assert made == [("in_traced", [ORDER])]


async def test_the_metrics_of_a_route_have_its_name_only(settings: Settings, make_route: MakeRoute) -> None:
    source = FakeSource([_record(is_redelivered=True), _record(1, None)])
    source.waiting = 7
    async with running(make_route(KAFKA, "nsq:in_measured"), source, settings) as worker:
        await source.wait_confirmed(2)
        await until(lambda: "nsqkit_route_lag{" in b"".join(worker.metrics.exposition()).decode())
        text = b"".join(worker.metrics.exposition()).decode()
    assert 'nsqkit_route_lag{route="carry"} 7' in text
    assert 'nsqkit_route_disconnected{route="carry"} 0' in text
    assert 'nsqkit_route_redelivered_total{route="carry"} 1' in text
    assert 'nsqkit_route_refused_total{route="carry",reason="tombstone"} 1' in text
    assert 'nsqkit_route_paused{route="carry",reason="depth"} 0' in text


def _values(settings: Settings) -> dict[str, Any]:
    names = ("nsqd", "nsqd_http", "admin_port", "grace_s")
    return {name: getattr(settings, name) for name in names}


async def _emptied(broker: DevBroker, topic: str) -> None:
    await fetch(broker.http_address, "/channel/empty", method="POST", topic=topic, channel="reader")
