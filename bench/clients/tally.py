"""The plan and the answer of a client program, independent of the client.

The argument is a plan as JSON, and the answer is one line of JSON; programs in other languages use the same
format. The module runs in the environments of all Python clients, so it uses only the standard library.
"""

import itertools
import json
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of one run.

    Args:
        address: ``host:port`` of nsqd's TCP port.
        topics: Topics to use; one for each handler.
        count: Messages in total.
        channel: Channel to subscribe to.
        max_in_flight: Messages in flight per handler.
        hold_ms: Duration of a handler in milliseconds.
        is_timed: Whether bodies contain the time of sending, and the answer contains latencies.
        is_bare: Whether bodies are bare events, without an envelope.
        variant: Name of the code path, such as ``on loop``; empty for the default one.
        orders: File with the orders to publish, one per line.
        window: Publishes in progress at the same time; 1 or more.
        batch: Messages per batch of a publisher; 1 or more.
        loads: Steady loads to publish one after another: messages per second, messages before and during the
            measurement.
        pid: Process whose CPU time is measured during each load.
    """

    address: str
    topics: tuple[str, ...]
    count: int
    channel: str = "bench"
    max_in_flight: int = 200
    hold_ms: int = 0
    is_timed: bool = False
    is_bare: bool = False
    variant: str = ""
    orders: str = ""
    window: int = 200
    batch: int = 100
    loads: tuple[tuple[float, int, int], ...] = ()
    pid: int = 0

    @classmethod
    def given(cls) -> "Plan":
        """Read the plan from the program's argument."""
        plan: dict[str, Any] = json.loads(sys.argv[1])
        return cls(**plan | {name: tuple(plan[name]) for name in ("topics", "loads")})

    @property
    def topic(self) -> str:
        """The first topic."""
        return self.topics[0]

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Host and port of the address."""
        host, _, port = self.address.rpartition(":")
        return host, int(port)

    def bodies(self) -> list[bytes]:
        """Return *count* orders; start over at the end of the file."""
        lines = Path(self.orders).read_bytes().splitlines()
        return list(itertools.islice(itertools.cycle(lines), self.count))


@dataclass
class Tally:
    """Counts messages from any thread, and reports time and CPU between the first and the last.

    Args:
        count: Messages in total.
    """

    count: int
    late_ns: list[int] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _started_s: float = 0.0
    _started_cpu_s: float = 0.0

    def tick(self) -> bool:
        """Count one message, and return whether it was the last one; then print the answer."""
        number = next(self._numbers)  # atomic in all threads
        if number == 0:
            self.start()
        elif number == self.count - 1:
            self.report()
            return True
        return False

    def came(self, sent_ns: int) -> bool:
        """Count a message and its latency since *sent_ns*, and return whether it was the last one."""
        self.late_ns.append(time.time_ns() - sent_ns)
        return self.tick()

    def start(self) -> None:
        """Record the time of the first message."""
        self._started_s = time.perf_counter()
        self._started_cpu_s = time.process_time()

    def report(self, **more: object) -> None:
        """Record the time of the last message, and print the answer."""
        answer = {
            "seconds": time.perf_counter() - self._started_s,
            "cpu_s": time.process_time() - self._started_cpu_s,
            "max_rss_bytes": peak_bytes(),
            "late_ns": self.late_ns,
            **more,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def peak_bytes() -> int:
    """Return the peak memory of the process; not ru_maxrss, in which Linux includes the parent's."""
    for line in _STATUS.read_text(encoding="ascii").splitlines() if _STATUS.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
