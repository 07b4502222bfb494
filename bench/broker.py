"""A separate real nsqd for the benchmark, and a client of its HTTP port."""

import http.client
import json
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ports import free_port

NSQD = Path(__file__).parents[1] / ".nsqd" / "bin" / "nsqd"
CHANNEL = "bench"
PATIENCE_S = 30.0
_BATCH = 500
_LENGTH = struct.Struct(">i")


class Broker:
    """A running nsqd: creates topics and reads statistics.

    Args:
        tcp: ``host:port`` of its TCP port.
        http_: ``host:port`` of its HTTP port.
    """

    def __init__(self, tcp: str, http_: str) -> None:
        self.tcp = tcp
        self.http = http_
        self._link = http.client.HTTPConnection(http_, timeout=PATIENCE_S)

    @property
    def version(self) -> str:
        """Version of nsqd."""
        return str(json.loads(self._ask("GET", "/info"))["version"])

    def is_up(self) -> bool:
        """Return whether nsqd answers."""
        try:
            self._ask("GET", "/ping")
        except OSError:
            return False
        return True

    @contextmanager
    def topic(self, name: str, bodies: Sequence[bytes] = (), *, is_paused: bool = False) -> Iterator[str]:
        """Create a topic with one channel and publish bodies to it; delete it afterwards.

        Args:
            name: Name of the topic.
            bodies: Bodies to publish; the channel gets all of them, in order.
            is_paused: Whether the channel is paused until :meth:`let_go`.
        """
        self._ask("POST", f"/topic/create?topic={name}")
        self._ask("POST", f"/channel/create?topic={name}&channel={CHANNEL}")
        if is_paused:
            self._ask("POST", f"/channel/pause?topic={name}&channel={CHANNEL}")
        for start in range(0, len(bodies), _BATCH):
            self._publish(name, bodies[start : start + _BATCH])
        try:
            yield name
        finally:
            self._ask("POST", f"/topic/delete?topic={name}")

    def let_go(self, topic: str) -> None:
        """Resume a paused channel."""
        self._ask("POST", f"/channel/unpause?topic={topic}&channel={CHANNEL}")

    def collect_garbage(self) -> None:
        """Run nsqd's garbage collection now, so that it does not run during a measurement."""
        self._ask("GET", "/debug/pprof/heap?gc=1")

    def until_depth(self, topic: str, depth: int) -> None:
        """Wait until the channel has *depth* messages."""
        until(lambda: self.channel(topic)["depth"] == depth, f"{topic} to have {depth} messages")

    def is_consumed(self, topic: str) -> bool:
        """Return whether a client is subscribed with RDY above 0."""
        return self.consumers(topic) > 0

    def consumers(self, topic: str) -> int:
        """Return the number of clients that are subscribed with RDY above 0."""
        return sum(client["ready_count"] > 0 for client in self.channel(topic)["clients"] or ())

    def left(self, topic: str) -> int:
        """Return the number of messages that are not finished."""
        stats = self.channel(topic)
        return int(stats["depth"] + stats["in_flight_count"] + stats["deferred_count"])

    def channel(self, topic: str) -> dict[str, Any]:
        """Return the channel's statistics."""
        asked = f"/stats?format=json&topic={topic}&channel={CHANNEL}&include_mem=false"
        (found,) = json.loads(self._ask("GET", asked))["topics"]
        (channel,) = found["channels"]
        return dict(channel)

    def _publish(self, topic: str, bodies: Sequence[bytes]) -> None:
        parts = [_LENGTH.pack(len(bodies))]
        for body in bodies:
            parts += (_LENGTH.pack(len(body)), body)
        self._ask("POST", f"/mpub?topic={topic}&binary=true", b"".join(parts))

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        try:
            self._link.request(method, path, body)
            answer = self._link.getresponse()
            said = answer.read()
        finally:
            self._link.close()  # the next request, perhaps minutes later, opens it again
        if answer.status != http.client.OK:
            sys.exit(f"bench: nsqd answered {answer.status} to {method} {path}: {said!r}")
        return said


@contextmanager
def running(queue: int) -> Iterator[Broker]:
    """Run an nsqd with its data in a temporary folder.

    Args:
        queue: Messages that a topic or channel keeps in memory; further ones go to disk.
    """
    if not NSQD.exists():
        sys.exit("bench: nsqd is not installed; run scripts/install-nsqd (needs Go)")
    tcp, http_ = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory() as folder:
        command = [str(NSQD), f"-tcp-address={tcp}", f"-http-address={http_}", f"-data-path={folder}"]
        command += [f"-mem-queue-size={queue}", "-log-level=error", "-broadcast-address=127.0.0.1"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603 - our own command
        try:
            broker = Broker(tcp, http_)
            until(broker.is_up, "nsqd to answer")
            yield broker
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until(is_true: Callable[[], bool], what: str) -> None:
    """Poll until a condition is true; exit the program after 30 s."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not is_true():
        if time.monotonic() > give_up_s:
            sys.exit(f"bench: timed out after {PATIENCE_S:g} s waiting for {what}")
        time.sleep(0.02)
