"""The short form of `scripts/chaos bridge`: no order is lost, whatever is stopped on its way."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.amqp import Client
from tests.bridge.topics import Topic
from tests.chaos.bridge import books
from tests.chaos.bridge.orders import PARTITIONS
from tests.chaos.bridge.run import Plan, run, shuffled
from tests.chaos.bridge.stage import Brokers
from tests.kafka import Kafka
from tests.rabbitmq import Rabbitmq
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.slow, pytest.mark.nsqd, pytest.mark.rabbitmq]

CARELESS = "tests.chaos.bridge.careless"


@pytest.fixture
async def brokers(
    kafka: Kafka, rabbitmq: Rabbitmq, nsq_programs: Path, monkeypatch: pytest.MonkeyPatch
) -> Brokers:
    """Kafka with a new topic, and RabbitMQ with a new queue."""
    monkeypatch.setenv("NSQKIT_NSQD_BIN", str(nsq_programs))
    return Brokers(kafka, Topic(kafka, PARTITIONS), rabbitmq, await Client(rabbitmq).quorum_queue())


async def test_every_order_arrives_and_a_fault_explains_each_duplicate(
    brokers: Brokers, tmp_path: Path
) -> None:
    plan = Plan(orders=2000, rate=100.0, faults=shuffled(1, seed=1), wait_s=4 * PATIENCE_S)
    found = await run(plan, tmp_path, brokers)
    assert list(found.problems) == []
    assert found.confirmed >= 2000
    assert {each.kind for each in found.faults} == set(books.HOPS)


async def test_notices_return_through_all_four_kinds_of_routes(
    kafka: Kafka, brokers: Brokers, tmp_path: Path
) -> None:
    """`scripts/chaos bridge --returns` stops everything on this way, too."""
    returned = Topic(kafka, PARTITIONS)
    plan = Plan(orders=100, rate=100.0, faults=[], wait_s=PATIENCE_S)
    found = await run(plan, tmp_path, replace(brokers, returned=returned))
    assert list(found.problems) == []
    assert found.arrived == found.confirmed
    assert returned.count() == found.confirmed


async def test_a_bridge_that_commits_before_nsqd_confirms_is_found_out(
    brokers: Brokers, tmp_path: Path
) -> None:
    plan = Plan(orders=100, rate=100.0, faults=[books.BRIDGE], wait_s=PATIENCE_S, first=CARELESS)
    found = await run(plan, tmp_path, brokers)
    assert 0 < len(found.lost) < found.confirmed
