"""Workers: CPU per message and throughput of one and of two processes that share a channel."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from bench.broker import CHANNEL, Broker, until
from bench.clients.count_orders import CountOrders
from bench.clients.cpu import cpu_s
from bench.clients.tally import Plan
from bench.programs import NSQKIT, ROOT
from tests.ports import free_port

WORKERS = (1, 2)
RUN = (sys.executable, "-m", "nsqkit", "run", "bench.clients.count_orders:CountOrders")
BY_HAND: Final = "two nsqkit run"
SUPERVISED: Final = "nsqkit run --workers 2"
SERVICES: Final = MappingProxyType({BY_HAND: (RUN, RUN), SUPERVISED: ((*RUN, "--workers", "2"),)})
"""The commands of each way to start two workers."""


def measure(broker: Broker, bodies: list[bytes], rounds: int) -> list[dict[str, Any]]:
    """Return the medians of CPU and throughput for each number of workers.

    Args:
        broker: Running nsqd.
        bodies: Bodies to publish; the workers share them.
        rounds: Number of rounds; each round measures one worker, then two.

    Raises:
        ProgramError: If a worker fails.
    """
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in WORKERS}
    for _ in range(rounds):
        for count in WORKERS:
            found[count].append(shared(broker, bodies, count))
    return [
        {
            "workers": count,
            "cpu_us": statistics.median(cpu_us for cpu_us, _ in each),
            "messages_per_s": statistics.median(rate for _, rate in each),
        }
        for count, each in found.items()
    ]


def measure_service(broker: Broker, bodies: list[bytes], rounds: int) -> list[dict[str, Any]]:
    """Return the median of CPU for two `nsqkit run`, and for one with two workers, its parent included.

    Args:
        broker: Running nsqd.
        bodies: Bodies to publish; the workers share them.
        rounds: Number of rounds; each round measures both.
    """
    found: dict[str, list[float]] = {name: [] for name in SERVICES}
    for _ in range(rounds):
        for name, commands in SERVICES.items():
            found[name].append(service_cpu_us(broker, bodies, commands))
    return [{"started": name, "cpu_us": statistics.median(each)} for name, each in found.items()]


def shared(broker: Broker, bodies: list[bytes], workers: int) -> tuple[float, float]:
    """Return CPU microseconds per message of all workers together, and their messages per second."""
    with ExitStack() as stack:
        topic = stack.enter_context(broker.topic("workers", bodies, is_paused=True))
        # One message more than there are: no worker stops before all are finished.
        plan = Plan(address=broker.tcp, topics=(topic,), count=len(bodies) + 1, channel=CHANNEL)
        running = [stack.enter_context(NSQKIT.running(plan)) for _ in range(workers)]

        def until_alive(is_true: Callable[[], bool], what: str) -> None:
            until(lambda: is_true() or any(each.process.poll() is not None for each in running), what)
            for each in running:
                if each.process.poll() is not None:
                    each.answer()  # raises: it ended early

        until_alive(lambda: broker.consumers(topic) == workers, f"{workers} workers")
        used_s, seconds = handled(broker, topic, bodies, [each.process.pid for each in running], until_alive)
    return used_s / len(bodies) * 1e6, len(bodies) / seconds


def service_cpu_us(broker: Broker, bodies: list[bytes], commands: Sequence[Sequence[str]]) -> float:
    """Return CPU microseconds per message of two workers that `nsqkit run` starts."""
    with ExitStack() as stack:
        topic = stack.enter_context(broker.topic(CountOrders.spec.topic, bodies, is_paused=True))
        started = [stack.enter_context(running([*each, "--nsqd", broker.tcp]))[0] for each in commands]
        until(lambda: broker.consumers(topic) == 2, "two workers")  # noqa: PLR2004 - two workers
        pids = [pid for each in started for pid in (each.pid, *children(each.pid))]
        used_s, _ = handled(broker, topic, bodies, pids, until)
    return used_s / len(bodies) * 1e6


def handled(
    broker: Broker,
    topic: str,
    bodies: list[bytes],
    pids: Sequence[int],
    until: Callable[[Callable[[], bool], str], object],
) -> tuple[float, float]:
    """Let the messages of a paused topic go, and return the CPU seconds of processes, and the duration."""
    broker.until_depth(topic, len(bodies))
    broker.collect_garbage()
    before_s, started_s = sum(map(cpu_s, pids)), time.perf_counter()
    broker.let_go(topic)
    until(lambda: broker.left(topic) == 0, "all messages to be finished")
    return sum(map(cpu_s, pids)) - before_s, time.perf_counter() - started_s


@contextmanager
def running(command: Sequence[str]) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Run a command of `nsqkit run`; yield the process and its admin port."""
    port = free_port()
    command = [*command, "--admin-port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - our own command
    try:
        yield process, port
    finally:
        process.terminate()
        process.wait()


def children(pid: int) -> list[int]:
    """Return the process ids of the children of a process."""
    return [
        int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    ]
