"""Page: throughput of `nsqkit run` with an open monitor page and without, of one process and of two."""

import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from bench.broker import Broker, until
from bench.clients.count_orders import CountOrders
from bench.programs import ROOT, ProgramError
from bench.workers import RUN, WORKERS, children, handled, running

_READ: Final = (sys.executable, "-m", "bench.clients.read_page")


def measure(broker: Broker, bodies: Sequence[bytes], *, rounds: int, say: Any) -> dict[str, Any]:
    """Measure the throughput with one client that reads the page's events, and with none.

    Args:
        broker: Running nsqd.
        bodies: Bodies to publish; they are handled in each measurement.
        rounds: Number of rounds; each measures everything once.
        say: Receives lines about the progress.
    """
    found = [_Service(workers, is_open=is_open) for workers in WORKERS for is_open in (False, True)]
    left_out: set[int] = set()
    for number in range(rounds):
        for service in found if number % 2 else reversed(found):
            if service.workers in left_out:
                continue
            try:
                service.measure(broker, list(bodies))
            except ProgramError as error:
                say(f"bench: {error}")
                left_out.add(service.workers)
            else:
                say(f"  {service.name:<40}{service.rounds[-1]['messages_per_s']:>10,.0f} messages/s")
    return {
        "messages": len(bodies),
        "rounds": rounds,
        "left_out": [_started(workers) for workers in sorted(left_out)],
        "services": [
            {"started": _started(each.workers), "is_open": each.is_open, "rounds": each.rounds}
            for each in found
            if each.workers not in left_out
        ],
    }


def overhead(found: dict[str, Any], figure: str = "messages_per_s") -> Iterator[tuple[str, float, float]]:
    """Yield how each service was started, and the median of a figure without and with an open page."""
    medians = {
        (each["started"], each["is_open"]): statistics.median(one[figure] for one in each["rounds"])
        for each in found["services"]
    }
    for started, is_open in medians:
        if is_open:
            yield started, medians[started, False], medians[started, True]


class _Service:
    """One way to run, and its figures.

    Args:
        workers: Number of processes that handle messages.
        is_open: Whether a page is open.
    """

    def __init__(self, workers: int, *, is_open: bool) -> None:
        self.workers = workers
        self.is_open = is_open
        self.rounds: list[dict[str, float]] = []

    @property
    def name(self) -> str:
        return f"{_started(self.workers)}, {'open' if self.is_open else 'no'} page"

    def measure(self, broker: Broker, bodies: list[bytes]) -> None:
        """Handle all bodies once, and keep the figures.

        Raises:
            ProgramError: If there is no page.
        """
        with ExitStack() as stack:
            topic = stack.enter_context(broker.topic(CountOrders.spec.topic, bodies, is_paused=True))
            command = [*RUN, *_options(self.workers), "--nsqd", broker.tcp]
            process, port = stack.enter_context(running(command))
            until(lambda: broker.consumers(topic) == self.workers, f"{self.workers} workers")
            if self.is_open:
                stack.enter_context(_open_page(port, _started(self.workers)))
            pids = (process.pid, *children(process.pid))
            used_s, seconds = handled(broker, topic, bodies, pids, until)
        count = len(bodies)
        self.rounds.append({"messages_per_s": count / seconds, "cpu_us": used_s / count * 1e6})


def _options(workers: int) -> tuple[str, ...]:
    return ("--workers", str(workers)) if workers > 1 else ()


def _started(workers: int) -> str:
    return " ".join(("nsqkit run", *_options(workers)))


@contextmanager
def _open_page(port: int, started: str) -> Iterator[None]:
    """Read the page's events in another process, from the first one on."""
    command = (*_READ, str(port))
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        if process.stdout is None or not process.stdout.readline():
            _, complaint = process.communicate()
            raise ProgramError(f"{started}: {complaint.strip()}")
        yield
    finally:
        process.kill()
        process.communicate()
