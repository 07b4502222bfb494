"""Bridge: throughput and CPU of each direction of `nsqkit bridge`, next to bare clients of both ends."""

import asyncio
import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import publishing, throughput
from bench.bridge_ends import Spent, read_kafka, read_rabbitmq, write_kafka, write_rabbitmq
from bench.broker import CHANNEL, Broker, until
from bench.clients.cpu import cpu_s
from bench.programs import CONSUMERS, PUBLISHERS, ROOT, environment, named
from bench.report import Table
from tests import kafka as kafka_server
from tests import rabbitmq as rabbitmq_server
from tests.bridge.topics import Topic
from tests.rabbitmq import PASSWORD, USER

TOPIC = "bench_bridge"
PARTITIONS = 3
LEAST_RATIO = 0.5
FROM_NSQ, TO_NSQ = "bare asyncio", "pynsq Writer.mpub"
READ_KAFKA, WRITE_KAFKA = "Kafka, read", "Kafka, write"
READ_RABBITMQ, WRITE_RABBITMQ = "RabbitMQ, read", "RabbitMQ, write"
ENDS: Mapping[str, tuple[str, str]] = {
    "Kafka to NSQ": (READ_KAFKA, TO_NSQ),
    "NSQ to Kafka": (FROM_NSQ, WRITE_KAFKA),
    "RabbitMQ to NSQ": (READ_RABBITMQ, TO_NSQ),
    "NSQ to RabbitMQ": (FROM_NSQ, WRITE_RABBITMQ),
}
"""The bare clients of the ends of each direction: the one that reads, and the one that writes."""
_SHARE_NOT_COUNTED = 10
_LOOK_S = 0.02
_MOST_S = 240.0
_numbers = itertools.count(1)

Found = Mapping[str, Sequence[Spent]]


@dataclass(frozen=True)
class Stand:
    """The brokers, and what is sent.

    Args:
        nsqd: Running nsqd.
        kafka: Running Kafka.
        rabbitmq: Running RabbitMQ.
        bodies: Bodies to send.
        folder: For files.
    """

    nsqd: Broker
    kafka: kafka_server.Kafka
    rabbitmq: rabbitmq_server.Rabbitmq
    bodies: list[bytes]
    folder: Path


def measure(nsqd: Broker, bodies: list[bytes], rounds: int, say: Callable[[str], None]) -> str:
    """Measure all directions and their ends in turn, several times, and return a table of the medians.

    Args:
        nsqd: Running nsqd.
        bodies: Bodies that are sent each time.
        rounds: Number of rounds; 1 or more.
        say: Receives lines about the progress.
    """
    if not (kafka_server.is_installed() and rabbitmq_server.is_installed()):
        sys.exit("bench: run scripts/install-kafka and scripts/install-rabbitmq")
    found: dict[str, list[Spent]] = defaultdict(list)
    with (
        kafka_server.running() as kafka,
        rabbitmq_server.running() as rabbitmq,
        tempfile.TemporaryDirectory() as folder,
    ):
        stand = Stand(nsqd, kafka, rabbitmq, bodies, Path(folder))
        for number in range(rounds):
            measures = [_nsq_ends, _over_kafka, _over_rabbitmq]
            for one in measures[number % 3 :] + measures[: number % 3]:
                for name, spent in one(stand).items():
                    found[name].append(spent)
                    say(f"  {name:<26}{spent.messages_per_s:>10,.0f} messages/s")
    return shown(found, len(bodies), rounds)


def shown(found: Found, messages: int, rounds: int) -> str:
    """Return the table.

    Args:
        found: Figures of directions and ends, by name, one for each round.
        messages: Messages in each measurement.
        rounds: Number of rounds.
    """
    rows = [
        (
            name,
            *_figures(found[name]),
            *(figure for end in ends for figure in _figures(found[end])),
            f"{ratio(found, name):.2f}",
        )
        for name, ends in ENDS.items()
    ]
    header = ("route", "messages/s", "CPU µs", "bare reader/s", "CPU µs", "bare writer/s", "CPU µs", "ratio")
    note = f"{messages:,} orders, median of {rounds} rounds; the ratio is to the slower bare client."
    return Table("bridge", "Bridges", header, tuple(rows), note).markdown()


def ratio(found: Found, direction: str) -> float:
    """Return the rate of a direction over that of its slower end: the median of the ratios of each round."""
    rounds = zip(found[direction], *(found[end] for end in ENDS[direction]), strict=True)
    return float(
        median(bridge.messages_per_s / min(end.messages_per_s for end in ends) for bridge, *ends in rounds)
    )


def _figures(rounds: Sequence[Spent]) -> tuple[str, str]:
    rate, cpu_us = (median(getattr(each, name) for each in rounds) for name in ("messages_per_s", "cpu_us"))
    return f"{rate:,.0f}", f"{cpu_us:.0f}"


def _nsq_ends(stand: Stand) -> dict[str, Spent]:
    """Measure a bare publisher and a bare consumer of nsqd."""
    count = len(stand.bodies)
    file = stand.folder / "orders"
    file.write_bytes(b"\n".join(stand.bodies))
    (publisher,), (consumer,) = named(PUBLISHERS, [TO_NSQ]), named(CONSUMERS, [FROM_NSQ])
    written = publishing.published(stand.nsqd, publisher, str(file), count)
    read = throughput.consumed(stand.nsqd, consumer, stand.bodies, are_bare=False)
    return {
        name: Spent(found["messages_per_s"], found["cpu_us"])
        for name, found in ((TO_NSQ, written), (FROM_NSQ, read))
    }


def _over_kafka(stand: Stand) -> dict[str, Spent]:
    """Write a topic, pass its records to NSQ and on to another topic, and read that."""
    servers, count = stand.kafka.address, len(stand.bodies)
    source, target = Topic(stand.kafka, PARTITIONS), Topic(stand.kafka, PARTITIONS)
    written = write_kafka(servers, source.name, stand.bodies)
    url = f"kafka://{servers}"
    there, back = _both_ways(stand, f"{url}/{source.name}?group={source.name}", f"{url}/{target.name}")
    read = read_kafka(servers, target.name, PARTITIONS, count)
    return {WRITE_KAFKA: written, "Kafka to NSQ": there, "NSQ to Kafka": back, READ_KAFKA: read}


def _over_rabbitmq(stand: Stand) -> dict[str, Spent]:
    """Write a queue, pass its messages to NSQ and on to another queue, and read that."""
    port, count = stand.rabbitmq.port, len(stand.bodies)
    source, target = (f"bench-{next(_numbers)}" for _ in range(2))
    written = asyncio.run(write_rabbitmq(port, source, stand.bodies))
    url = f"amqp://127.0.0.1:{port}"
    there, back = _both_ways(stand, f"{url}/{source}", f"{url}/?routing_key={target}")
    read = asyncio.run(read_rabbitmq(port, target, count))
    return {WRITE_RABBITMQ: written, "RabbitMQ to NSQ": there, "NSQ to RabbitMQ": back, READ_RABBITMQ: read}


def _both_ways(stand: Stand, source: str, target: str) -> tuple[Spent, Spent]:
    nsqd, count = stand.nsqd, len(stand.bodies)
    with nsqd.topic(TOPIC) as topic:
        with _bridge(stand, source, f"nsq:{topic}") as pid:
            there = _watched(pid, count, lambda: nsqd.channel(topic)["message_count"])
        nsqd.collect_garbage()
        with _bridge(stand, f"nsq:{topic}/{CHANNEL}", target) as pid:
            back = _watched(pid, count, lambda: count - nsqd.left(topic))
    return there, back


def _watched(pid: int, count: int, done: Callable[[], int]) -> Spent:
    """Measure from a tenth of the messages on: not the start of the bridge."""
    first = count // _SHARE_NOT_COUNTED
    until(lambda: done() >= first, "the bridge to begin")
    began, wall_s, used_s = done(), time.perf_counter(), cpu_s(pid)
    while (passed := done()) < count:
        if time.perf_counter() > wall_s + _MOST_S:
            sys.exit(f"bench: {passed} of {count} messages have passed in {_MOST_S:g} s")
        time.sleep(_LOOK_S)
    counted = passed - began
    return Spent(counted / (time.perf_counter() - wall_s), (cpu_s(pid) - used_s) / counted * 1e6)


@contextmanager
def _bridge(stand: Stand, source: str, target: str) -> Iterator[int]:
    """Run a bridge of one route, and yield its process id."""
    file, settings = stand.folder / "bridge.toml", stand.folder / "settings.toml"
    file.write_text(f'[[route]]\nname = "bench"\nfrom = "{source}"\nto = "{target}"\ncreate = true\n')
    settings.touch(mode=0o600)
    settings.write_text(f'[nsqkit]\nrabbitmq_username = "{USER}"\nrabbitmq_password = "{PASSWORD}"\n')
    nsq = ("--nsqd", stand.nsqd.tcp, "--nsqd-http", stand.nsqd.http, "--admin-port", "0")
    command = (sys.executable, "-m", "nsqkit", "bridge", str(file), "--config", str(settings), *nsq)
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
