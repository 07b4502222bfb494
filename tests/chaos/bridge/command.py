"""Command: what `scripts/chaos bridge` does and prints."""

import logging
from collections.abc import Iterator
from pathlib import Path

import typer

from tests import kafka, rabbitmq
from tests.amqp import Client
from tests.bridge.topics import Topic
from tests.chaos.bridge import books
from tests.chaos.bridge.books import Finding
from tests.chaos.bridge.orders import PARTITIONS
from tests.chaos.bridge.run import Plan, run
from tests.chaos.bridge.stage import Brokers
from tests.chaos.errors import ChaosFailedError

_NAMES = {
    books.BRIDGE: "bridge, `kill -9`",
    books.NSQD: "nsqd, SIGTERM",
    books.KAFKA: "Kafka, `kill -9`",
    books.RABBITMQ: "RabbitMQ, `kill -9`",
    books.SECOND: "second bridge, started and stopped",
}


async def on_real_brokers(plan: Plan, folder: Path, *, returns: bool = False) -> Finding:
    """Run on a Kafka and a RabbitMQ that are started for it.

    Args:
        plan: What to do.
        folder: Where ledgers and logs go.
        returns: Whether notices go on from RabbitMQ through NSQ to Kafka.

    Raises:
        ChaosFailedError: If one is not installed, or as of ``run``.
    """
    if not kafka.is_installed():
        raise ChaosFailedError("no Kafka: run scripts/install-kafka (needs Java and mvn)")
    if not rabbitmq.is_installed():
        raise ChaosFailedError("no RabbitMQ: run scripts/install-rabbitmq")
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # it logs each attempt of the partner to connect
    with kafka.running() as source, rabbitmq.running() as target:
        queue = await Client(target).quorum_queue()
        topic, returned = Topic(source, PARTITIONS), Topic(source, PARTITIONS) if returns else None
        return await run(plan, folder, Brokers(source, topic, target, queue, returned))


def report(found: Finding) -> int:
    """Print what was found, and return the exit code: 1 if there is a problem.

    Args:
        found: What has become of the orders.
    """
    for line in table(found):
        typer.echo(line)
    problems = list(found.problems)
    for problem in problems:
        typer.echo(problem, err=True)
    return 1 if problems else 0


def table(found: Finding) -> Iterator[str]:
    """Yield the lines of what was found, as Markdown.

    Args:
        found: What has become of the orders.
    """
    arrivals = sum(found.duplicates.values()) + len(found.unexplained)
    yield (
        f"{found.confirmed:,} orders confirmed by Kafka, {found.arrived:,} arrived, "
        f"{len(found.lost)} lost, {arrivals:,} duplicates, {len(found.unexplained)} of them unexplained. "
        f"It took {found.took_s:,.0f} s; in {found.covered_s:,.0f} s of them a fault explains a duplicate."
    )
    yield ""
    yield "| stopped | times | seconds until orders passed again, median | longest | duplicates |"
    yield "|---|--:|--:|--:|--:|"
    for kind, name in _NAMES.items():
        lasted_s = sorted(each.ended_s - each.began_s for each in found.faults if each.kind == kind)
        if lasted_s:
            middle_s = lasted_s[len(lasted_s) // 2]
            figures = (
                len(lasted_s),
                f"{middle_s:.1f}",
                f"{lasted_s[-1]:.1f}",
                f"{found.duplicates.get(kind, 0):,}",
            )
            yield f"| {name} | {' | '.join(map(str, figures))} |"
