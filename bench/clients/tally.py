"""What a Python client's program is told to do, and what it tells back; it knows no client.

The argument is a plan as JSON, and the answer is one line of JSON. Both are alike for the programs in
other languages beside this one. It runs in the environments of all Python clients: only the standard library.
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
    """What to do.

    Args:
        address: ``host:port`` of nsqd's TCP port.
        topics: One, or as many as there are handlers.
        count: Messages in all.
        channel: To subscribe.
        max_in_flight: Of each handler.
        hold_ms: How long a handler takes; milliseconds.
        is_timed: Whether bodies say when they were sent, and how late they came is asked for.
        variant: Which of a program's ways to do it.
        orders: The file of orders to publish, one a line.
        window: Publishes under way at a time.
        batch: Messages in one publish.
        rate: Messages per second to publish; 0 for as many as possible.
    """

    address: str
    topics: tuple[str, ...]
    count: int
    channel: str = "bench"
    max_in_flight: int = 200
    hold_ms: int = 0
    is_timed: bool = False
    variant: str = ""
    orders: str = ""
    window: int = 200
    batch: int = 100
    rate: float = 0.0

    @classmethod
    def given(cls) -> "Plan":
        """Return the program's argument."""
        plan: dict[str, Any] = json.loads(sys.argv[1])
        return cls(**plan | {"topics": tuple(plan["topics"])})

    @property
    def topic(self) -> str:
        """The first topic."""
        return self.topics[0]

    @property
    def host_and_port(self) -> tuple[str, int]:
        """The address in two parts."""
        host, _, port = self.address.rpartition(":")
        return host, int(port)

    def bodies(self) -> list[bytes]:
        """Return *count* orders, from the start again where the file has fewer."""
        lines = Path(self.orders).read_bytes().splitlines()
        return list(itertools.islice(itertools.cycle(lines), self.count))


@dataclass
class Tally:
    """Counts messages from any thread, and tells what they cost between the first and the last.

    Args:
        count: Messages in all.
    """

    count: int
    late_ns: list[int] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _started_s: float = 0.0
    _started_cpu_s: float = 0.0

    def tick(self) -> bool:
        """Count one message, and return whether it was the last; tells then."""
        number = next(self._numbers)  # one step, whichever thread takes it
        if number == 0:
            self.start()
        elif number == self.count - 1:
            self.tell()
            return True
        return False

    def came(self, sent_ns: int) -> bool:
        """Count one message that was sent at a time of the wall clock, and return whether it was the last."""
        self.late_ns.append(time.time_ns() - sent_ns)
        return self.tick()

    def start(self) -> None:
        """Take the time of the first."""
        self._started_s = time.perf_counter()
        self._started_cpu_s = time.process_time()

    def tell(self, **more: object) -> None:
        """Take the time of the last, and print the answer."""
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
    """Return the most memory that the process ever had; not ru_maxrss, in which Linux counts the parent's."""
    for line in _STATUS.read_text(encoding="ascii").splitlines() if _STATUS.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
