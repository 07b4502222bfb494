"""Workers: CPU per message and throughput of one and of two processes that share a channel."""

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from bench.broker import CHANNEL, Broker, until
from bench.clients.cpu import cpu_s
from bench.clients.tally import Plan
from bench.programs import NSQKIT

WORKERS = (1, 2)


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


def shared(broker: Broker, bodies: list[bytes], workers: int) -> tuple[float, float]:
    """Return CPU microseconds per message of all workers together, and their messages per second."""
    with ExitStack() as stack:
        topic = stack.enter_context(broker.topic("workers", bodies, is_paused=True))
        broker.until_depth(topic, len(bodies))
        broker.collect_garbage()
        # One message more than there are: no worker stops before all are finished.
        plan = Plan(address=broker.tcp, topics=(topic,), count=len(bodies) + 1, channel=CHANNEL)
        running = [stack.enter_context(NSQKIT.running(plan)) for _ in range(workers)]

        def until_alive(is_true: Callable[[], bool], what: str) -> None:
            until(lambda: is_true() or any(each.process.poll() is not None for each in running), what)
            for each in running:
                if each.process.poll() is not None:
                    each.answer()  # raises: it ended early

        until_alive(lambda: broker.consumers(topic) == workers, f"{workers} workers")
        pids = [each.process.pid for each in running]
        before_s, started_s = sum(map(cpu_s, pids)), time.perf_counter()
        broker.let_go(topic)
        until_alive(lambda: broker.left(topic) == 0, "all messages to be finished")
        seconds, used_s = time.perf_counter() - started_s, sum(map(cpu_s, pids)) - before_s
    return used_s / len(bodies) * 1e6, len(bodies) / seconds
