"""A route from NSQ: a message is finished once the other broker has it, and an outage costs nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nsqkit.bridge import opened_target
from nsqkit.bridge.outbound import handler_of
from nsqkit.bridge.route import Route
from nsqkit.devbroker import DevBroker
from nsqkit.errors import BridgeError, OutageError, RecordRefusedError
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.options import connection_options
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.settings.settings import Settings
from nsqkit.worker.worker import Worker
from tests.fake_brokers import FakeTarget
from tests.unit.bridge.conftest import MakeRoute
from tests.waiting import until

KAFKA = "kafka://kafka.example:9092/sold"
EVENT = b'{"specversion":"1.0","type":"sold.v1","source":"shop","id":"e-1","data":{}}'


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened_target, "OPEN_S", 0.05)


@pytest.fixture
def settings(broker: DevBroker, tmp_path: Path) -> Settings:
    return Settings(nsqd=(broker.tcp_address,), nsqd_http=(broker.http_address,), admin_port=0, grace_s=1.0)


@asynccontextmanager
async def running(route: Route, target: FakeTarget, settings: Settings) -> AsyncIterator[Worker]:
    """Run a worker with one route from NSQ."""
    handler, resource = handler_of(route, lambda _: target)
    async with Worker([handler], settings=settings, resources=[resource]) as worker:
        await worker.wait_subscribed(settings.nsqd[0])
        yield worker


async def _publish(settings: Settings, topic: str, *bodies: bytes) -> None:
    publishers = PublisherPool(connection_options(settings))
    await publishers.publish_many(settings.nsqd[0], topic, bodies)
    await publishers.close()


def _row(worker: Worker) -> Any:
    (row,) = worker.metrics.summary()
    return row


async def test_any_body_is_written_as_it_is_and_then_finished(
    settings: Settings, make_route: MakeRoute
) -> None:
    """An event has its type in the log and metrics, whatever it is."""
    target = FakeTarget()
    async with running(make_route("nsq:out_any/x", KAFKA), target, settings) as worker:
        await _publish(settings, "out_any", EVENT, b"\x00\xff", b'{"specversion": 1}')
        sent = await target.wait_sent(3)
        await until(lambda: _row(worker).success, lambda count: count == 3)
    assert {record.body for record in sent} == {EVENT, b"\x00\xff", b'{"specversion": 1}'}
    assert {record.headers[-1] for record in sent} == {("nsqkit-via", b"here/out_any")}
    assert target.is_closed


async def test_an_outage_costs_no_attempt(settings: Settings, make_route: MakeRoute) -> None:
    """With one attempt allowed, a message that fails again and again meanwhile is written in the end."""
    target = FakeTarget()
    target.failures = [OutageError("connection refused"), OutageError("still away")]
    route = make_route("nsq:out_away/x", KAFKA, max_attempts=1, max_in_flight=1)
    async with running(route, target, settings) as worker:
        await _publish(settings, "out_away", EVENT)
        await target.wait_sent(1)
        await until(lambda: _row(worker).success)
        assert (_row(worker).dead_lettered, target.failures) == (0, [])


async def test_a_refused_record_is_a_dead_letter_at_once(
    settings: Settings, broker: DevBroker, make_route: MakeRoute
) -> None:
    target = FakeTarget()
    target.failures = [RecordRefusedError("it has 2 MB, and the topic accepts 1 MB")]
    async with running(make_route("nsq:out_refused/x", KAFKA), target, settings) as worker:
        await _publish(settings, "out_refused", EVENT)
        await until(lambda: _row(worker).dead_lettered)
        assert target.sent == []
    stats = await NsqdHttp(broker.http_address).stats("out_refused.x.dead")
    assert "out_refused.x.dead" in str(stats)


async def test_a_target_that_is_away_at_the_start_is_opened_by_a_message(
    settings: Settings, make_route: MakeRoute
) -> None:
    """Meanwhile the metrics say that it is away, and a mistake found so late costs no message either."""
    target = FakeTarget()
    target.opening = [OutageError("connection refused"), BridgeError("there is no topic 'sold'")]
    async with running(make_route("nsq:out_late/x", KAFKA, max_attempts=1), target, settings) as worker:
        assert 'nsqkit_route_disconnected{route="carry"} 1' in _text(worker)
        await _publish(settings, "out_late", EVENT)
        await target.wait_sent(1)
        await until(lambda: 'nsqkit_route_disconnected{route="carry"} 0' in _text(worker))


async def test_what_only_a_person_can_correct_ends_the_start(
    settings: Settings, make_route: MakeRoute
) -> None:
    target = FakeTarget()
    target.opening = [BridgeError("there is no topic 'sold'")]
    with pytest.raises(BridgeError, match="no topic 'sold'"):
        async with running(make_route("nsq:out_wrong/x", KAFKA), target, settings):
            pass


async def test_a_write_without_an_answer_is_an_outage(settings: Settings, make_route: MakeRoute) -> None:
    """It ends before the handler's timeout, which would use up an attempt."""
    target = FakeTarget()
    target.failures = [TimeoutError()]
    route = make_route("nsq:out_silent/x", KAFKA, max_attempts=1, timeout_s=5)
    async with running(route, target, settings) as worker:
        await _publish(settings, "out_silent", EVENT)
        await target.wait_sent(1)
        await until(lambda: _row(worker).success)


async def test_two_routes_have_targets_of_their_own(settings: Settings, make_route: MakeRoute) -> None:
    targets = {"one": FakeTarget(), "two": FakeTarget()}
    routes = [make_route(f"nsq:out_{name}/x", KAFKA, name=name) for name in targets]
    made = [handler_of(route, lambda of: targets[of.name]) for route in routes]
    handlers, resources = zip(*made, strict=True)
    async with Worker(handlers, settings=settings, resources=resources) as worker:
        await worker.wait_subscribed(settings.nsqd[0])
        await _publish(settings, "out_one", b"1")
        await _publish(settings, "out_two", b"2")
        assert [(await target.wait_sent(1))[0].body for target in targets.values()] == [b"1", b"2"]


def _text(worker: Worker) -> str:
    return b"".join(worker.metrics.exposition()).decode()
