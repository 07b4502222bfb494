"""Throughput of nsqkit beside pynsq's Reader, on one real nsqd, on the sample orders.

Rounds are interleaved; what lasts is the ratio, not the rate. Run by scripts/bench.
"""

import argparse
import json
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ORDERS = ROOT / "examples" / "data" / "orders.jsonl"
NSQD = ROOT / ".nsqd" / "bin" / "nsqd"
CLIENTS = ("nsqkit", "pynsq")
CLIENT_LIMIT_S = 120


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000, help="per client and round (default 20000)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    asked = parser.parse_args()
    if not NSQD.exists():
        sys.exit("bench: no nsqd here; run scripts/install-nsqd (needs Go)")
    with nsqd():
        rates: dict[str, list[float]] = {name: [] for name in CLIENTS}
        for number in range(asked.rounds):
            for name in CLIENTS:
                rates[name].append(rate(name, f"bench-{name}-{number}", asked.messages))
    report({name: statistics.median(each) for name, each in rates.items()}, asked)


@contextmanager
def nsqd() -> Iterator[None]:
    """Run an nsqd with its data in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(NSQD), "-tcp-address", TCP, "-http-address", HTTP, "-data-path", folder]
        command += ["-mem-queue-size", "1000000", "-log-level", "error"]
        process = subprocess.Popen(command)  # noqa: S603 - our own command
        try:
            wait_for_ping()
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def free_address() -> str:
    """Return a loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def orders() -> list[bytes]:
    """Return the sample orders that the sample handlers accept: a handler sees no others."""
    return [
        line
        for line in ORDERS.read_bytes().splitlines()
        if all(each["quantity"] >= 1 for each in json.loads(line)["data"]["lines"])
    ]


def wait_for_ping() -> None:
    """Return once nsqd answers."""
    for _ in range(100):
        try:
            call("GET", "/ping")
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"bench: nsqd does not answer on {HTTP}; is the port in use?")


def rate(client: str, topic: str, count: int) -> float:
    """Return messages per second of one client on a topic of its own."""
    bodies = orders()
    call("POST", f"/topic/create?topic={topic}")
    call("POST", f"/channel/create?topic={topic}&channel=bench")
    for start in range(0, count, 500):
        batch = [bodies[index % len(bodies)] for index in range(start, min(start + 500, count))]
        call("POST", f"/mpub?topic={topic}", b"\n".join(batch))
    command = [sys.executable, str(ROOT / "bench" / "clients.py"), client, TCP, topic, str(count)]
    answer = subprocess.run(  # noqa: S603 - our own command
        command, check=True, capture_output=True, text=True, timeout=CLIENT_LIMIT_S
    )
    call("POST", f"/topic/delete?topic={topic}")
    return float(answer.stdout.split()[0])


def call(method: str, path: str, body: bytes | None = None) -> None:
    """Ask nsqd over HTTP."""
    request = urllib.request.Request(f"http://{HTTP}{path}", data=body, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
        answer.read()


TCP, HTTP = free_address(), free_address()


def report(medians: dict[str, float], asked: argparse.Namespace) -> None:
    """Print the table, and what it was measured with."""
    print(f"{asked.messages} sample orders, median of {asked.rounds} interleaved rounds, max_in_flight 200")
    print(f"{'client':<10}{'messages/s':>12}{'ratio to pynsq':>16}")
    for name, median in medians.items():
        print(f"{name:<10}{median:>12,.0f}{median / medians['pynsq']:>16.2f}")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("nsqkit", "pynsq", "tornado"))
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {libraries}, {platform.machine()}"
    )


if __name__ == "__main__":
    main()
