"""Cost: CPU by number of handlers and workers, memory per message in flight, idle worker, start-up time."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import workers
from bench.broker import CHANNEL, Broker, until
from bench.clients.cpu import cpu_s
from bench.clients.tally import Plan
from bench.orders import Orders
from bench.programs import CLIENT_LIMIT_S, HOLDER, NSQKIT, ROOT, Program, ProgramError
from bench.rounds import interleaved
from bench.throughput import MIB, NOT_COUNTED
from tests.ports import free_port

HANDLERS = (1, 10, 100)
STARTS = 5
READY_LIMIT_S = 30.0
_COMMAND = (sys.executable, "-m", "nsqkit")


def measure(
    broker: Broker,
    orders: Orders,
    *,
    messages: int,
    rounds: int,
    idle_s: float,
    held: Sequence[Program],
    say: Any,
) -> dict[str, Any]:
    """Measure the cost of nsqkit.

    Args:
        broker: Running nsqd.
        orders: Orders to publish.
        messages: Messages in total for each number of handlers or workers and each round.
        rounds: Number of rounds for CPU and memory.
        idle_s: Seconds for which the idle worker is measured.
        held: Programs whose memory per message in flight is measured.
        say: Receives lines about the progress.
    """
    found: dict[str, Any] = {"messages": messages, "rounds": rounds, "idle_s": idle_s}
    try:
        found["handlers"] = [
            {"handlers": each, "cpu_us": statistics.median(cpu_us)}
            for each, cpu_us in by_handlers(broker, orders, messages, rounds).items()
        ]
        for each in found["handlers"]:
            say(f"  {each['handlers']:>3} handlers {each['cpu_us']:.1f} µs CPU per message")
        found["workers"] = workers.measure(broker, orders.first(messages), rounds)
        for each in found["workers"]:
            say(f"  {each['workers']:>3} workers  {each['cpu_us']:.1f} µs CPU per message")
        found["services"] = workers.measure_service(broker, orders.first(messages), rounds)
        for each in found["services"]:
            say(f"  {each['started']:<24} {each['cpu_us']:.1f} µs CPU per message")
    except ProgramError as error:
        print(f"bench: {error}", file=sys.stderr)
    in_flight = interleaved(held, rounds, lambda program: in_flight_bytes(broker, orders, program))
    found["in_flight"] = [
        {"name": program.name, "bytes": round(statistics.median(each))} for program, each in in_flight.items()
    ]
    found["in_flight_messages"] = HOLDER.max_in_flight
    found["body_bytes"] = orders.about(HOLDER.max_in_flight)["mean_bytes"]
    for each in found["in_flight"]:
        say(f"  {each['name']:<20} {each['bytes']:,} bytes per message in flight")
    found |= idle(broker, idle_s)
    found["help_s"] = statistics.median(help_s() for _ in range(STARTS))
    say(f"  ready after {found['ready_s']:.2f} s, --help takes {found['help_s']:.2f} s")
    return found


def by_handlers(broker: Broker, orders: Orders, messages: int, rounds: int) -> dict[int, list[float]]:
    """Return CPU microseconds per message, by the number of handlers in one process."""
    found: dict[int, list[float]] = {count: [] for count in HANDLERS}
    for _ in range(rounds):
        for handlers in HANDLERS:
            found[handlers].append(handlers_cpu_us(broker, orders, messages, handlers))
    return found


def handlers_cpu_us(broker: Broker, orders: Orders, messages: int, handlers: int) -> float:
    """Return CPU microseconds per message with a number of handlers that share the messages."""
    share = orders.first(messages // handlers + NOT_COUNTED // handlers)
    topics = tuple(f"cost-{handlers}-{number}" for number in range(handlers))
    plan = Plan(address=broker.tcp, topics=topics, count=messages, channel=CHANNEL)
    with ExitStack() as stack:
        for topic in topics:
            stack.enter_context(broker.topic(topic, share, is_paused=True))
        broker.collect_garbage()
        running = stack.enter_context(NSQKIT.running(plan))
        until(lambda: all(map(broker.is_consumed, topics)) or running.process.poll() is not None, "handlers")
        for topic in topics:
            broker.let_go(topic)
        answer = running.answer()
    return float(answer["cpu_s"]) / plan.count * 1e6


def in_flight_bytes(broker: Broker, orders: Orders, program: Program) -> float:
    """Return the memory of a worker per message in flight, body included, in bytes."""
    count = program.max_in_flight
    topic = "held"
    with broker.topic(topic, orders.first(count)):
        plan = Plan(address=broker.tcp, topics=(topic,), count=count, channel=CHANNEL)
        before, after = program.run(plan)["rss_bytes"]
    return float(after - before) / (count - 1)


def idle(broker: Broker, seconds: float) -> dict[str, float]:
    """Return CPU and memory of an idle worker with the sample handlers, and its start-up time."""
    with idle_worker(broker) as (process, ready_s):
        found = {"ready_s": ready_s}
        if Path(f"/proc/{process.pid}").exists():
            before_s = cpu_s(process.pid)
            time.sleep(seconds)
            found["idle_cpu_ratio"] = (cpu_s(process.pid) - before_s) / seconds
            found["idle_rss_mib"] = rss_bytes(process.pid) / MIB
    return found


@contextmanager
def idle_worker(broker: Broker) -> Iterator[tuple["subprocess.Popen[str]", float]]:
    """Run the sample handlers; yield the process when it is ready, and the seconds that this took."""
    command = [*_COMMAND, "run", "handlers.orders", "--nsqd", broker.tcp, "--admin-port", str(free_port())]
    started_s = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--log-format", "json"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr or ():
            if "worker_ready" in line:
                break
        yield process, time.perf_counter() - started_s
    finally:
        process.terminate()
        try:
            process.communicate(timeout=CLIENT_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def help_s() -> float:
    """Return the duration of `nsqkit --help`, in seconds."""
    started_s = time.perf_counter()
    subprocess.run([*_COMMAND, "--help"], cwd=ROOT, check=True, capture_output=True, timeout=READY_LIMIT_S)  # noqa: S603
    return time.perf_counter() - started_s


def rss_bytes(pid: int) -> int:
    """Return the current resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
