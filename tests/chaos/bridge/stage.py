"""Stage: the processes of a run, and how each of them is stopped and started again."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.http import NsqdHttp, fetch
from tests.amqp import Client
from tests.bridge.topics import Topic
from tests.chaos.bridge import books, shop
from tests.chaos.cluster import waiting
from tests.chaos.errors import ChaosFailedError
from tests.chaos.programs import Program, Programs, answering, nsq_program
from tests.kafka import Kafka
from tests.ports import free_port
from tests.rabbitmq import PASSWORD, USER, Rabbitmq
from tests.waiting import PATIENCE_S, until

MSG_TIMEOUT_S: Final = 5
QUICK: Final = "tests.chaos.bridge.quick"
_RECEIVED: Final = f'nsqkit_messages_received_total{{topic="{shop.ORDERS}"'
_FILE: Final = """\
name = "chaos"

[[route]]
name = "orders-in"
from = "kafka://{kafka}/{topic}?group={topic}"
to = "nsq:{orders}"
max_depth = 1000

[[route]]
name = "to-partner"
from = "nsq:{notices}/to-partner"
to = "amqp://127.0.0.1:{port}/?routing_key={queue}"
"""
_RETURNS: Final = """
[[route]]
name = "from-partner"
from = "amqp://127.0.0.1:{port}/{queue}"
to = "nsq:{returns}"

[[route]]
name = "returns"
from = "nsq:{returns}/to-kafka"
to = "kafka://{kafka}/{returned}"
"""


@dataclass(frozen=True)
class Brokers:
    """The brokers on both sides of NSQ.

    Args:
        kafka: A Kafka.
        topic: Its topic of orders.
        rabbitmq: A RabbitMQ.
        queue: Its queue of notices.
        returned: Kafka's topic to which notices go on from there; None if a partner reads the queue.
    """

    kafka: Kafka
    topic: Topic
    rabbitmq: Rabbitmq
    queue: str
    returned: Topic | None = None


class Stage:
    """nsqd, a worker with the handler, and the bridge.

    Args:
        programs: The processes.
        folder: Folder of the run.
        brokers: The other brokers, which run.
        first: Module of a first bridge that dies by itself; empty for an ordinary one.

    Attributes:
        codes: Exit codes of the processes that got SIGTERM.
        stops: A function for each kind of fault; it returns when the process is started again.
    """

    def __init__(self, programs: Programs, folder: Path, brokers: Brokers, first: str) -> None:
        self._programs = programs
        self._folder = folder
        self._brokers = brokers
        self._first = first
        tcp, self._http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        addresses = (f"-tcp-address={tcp}", f"-http-address={self._http}", "-broadcast-address=127.0.0.1")
        self._nsqd_command = (str(nsq_program("nsqd")), *addresses, f"-data-path={folder}")
        settings = (f"msg_timeout_s={MSG_TIMEOUT_S}", f"dead_store={folder / 'dead.sqlite'}")
        self._options = (
            *("--nsqd", tcp, "--nsqd-http", self._http, "--log-format", "json"),
            *(option for each in settings for option in ("--set", each)),
        )
        self.codes: list[int | None] = []
        self._running: dict[str, Program] = {}
        self.stops: Mapping[str, Callable[[], Awaitable[None]]] = {
            books.BRIDGE: self._kill_bridge,
            books.NSQD: self._restart_nsqd,
            books.KAFKA: lambda: _killed(brokers.kafka),
            books.RABBITMQ: lambda: _killed(brokers.rabbitmq),
            books.SECOND: self._start_and_stop_second,
        }

    async def start(self) -> None:
        """Start nsqd, the worker and the bridge."""
        brokers = self._brokers
        routes = _FILE + (_RETURNS if brokers.returned else "")
        (self._folder / "bridge.toml").write_text(
            routes.format(
                kafka=brokers.kafka.address,
                topic=brokers.topic.name,
                orders=shop.ORDERS,
                notices=shop.NOTICES,
                port=brokers.rabbitmq.port,
                queue=brokers.queue,
                returns=shop.RETURNS,
                returned=brokers.returned.name if brokers.returned else "",
            )
        )
        settings = self._folder / "settings.toml"
        settings.touch(mode=0o600)
        settings.write_text(f'[nsqkit]\nrabbitmq_username = "{USER}"\nrabbitmq_password = "{PASSWORD}"\n')
        await self._start_nsqd()
        worker = ("-m", "nsqkit", "run", shop.__name__, "--admin-port", "0")
        self._start("worker", (sys.executable, *worker, *self._options))
        self._start_bridge("bridge", self._first or QUICK)

    async def stop(self) -> None:
        """End the worker and the bridge with SIGTERM, and keep their exit codes."""
        for name in ("bridge", "worker"):
            await self._terminate(name)

    async def deferred(self) -> int:
        """Return how many messages nsqd delivers only later."""
        return sum(
            channel["deferred_count"] for topic in await self._topics() for channel in topic["channels"]
        )

    async def left(self) -> int:
        """Return how many orders and notices are on their way."""
        brokers = self._brokers
        lag = await asyncio.to_thread(brokers.topic.lag)
        return (
            lag
            + sum(map(waiting, await self._topics()))
            + await Client(brokers.rabbitmq).ready(brokers.queue)
        )

    def require_running(self) -> None:
        """Return if no process has ended by itself.

        Raises:
            ChaosFailedError: If one has.
        """
        for name, program in self._running.items():
            if program.code is not None:
                raise ChaosFailedError(f"{name} has ended by itself with {program.code}: see {program.log}")

    async def _topics(self) -> list[dict[str, Any]]:
        stats: Any = await NsqdHttp(self._http, timeout_s=PATIENCE_S).stats()
        return [each for each in stats["topics"] or () if not each["topic_name"].endswith(".dead")]

    def _start(self, name: str, command: Sequence[str]) -> None:
        self._running[name] = self._programs.start(name, command)

    def _start_bridge(self, name: str, module: str = QUICK, admin_port: int = 0) -> None:
        arguments = ("bridge", str(self._folder / "bridge.toml"), "--admin-port", str(admin_port))
        settings = ("--config", str(self._folder / "settings.toml"))
        self._start(name, (sys.executable, "-m", module, *arguments, *settings, *self._options))

    async def _start_nsqd(self) -> None:
        self._start("nsqd", self._nsqd_command)
        await answering(self._running["nsqd"], self._http)

    async def _restart_nsqd(self) -> None:
        await self._end("nsqd")
        await self._start_nsqd()

    async def _kill_bridge(self) -> None:
        bridge = self._running["bridge"]
        if self._first:
            await bridge.wait()
            self._first = ""
        bridge.kill()
        self._start_bridge("bridge")

    async def _start_and_stop_second(self) -> None:
        port = free_port()
        self._start_bridge("second bridge", admin_port=port)

        async def has_received() -> bool:
            self.require_running()
            with contextlib.suppress(ConnectionLostError, RefusedError):
                return _received(await fetch(f"127.0.0.1:{port}", "/metrics")) > 0
            return False

        await until(has_received, timeout_s=None)
        await self._terminate("second bridge")

    async def _terminate(self, name: str) -> None:
        self.codes.append(await self._end(name))

    async def _end(self, name: str) -> int | None:
        program = self._running.pop(name)
        program.signal(signal.SIGTERM)
        code = await program.wait()
        if code is None:
            raise ChaosFailedError(
                f"{name} did not end within {PATIENCE_S:g} s of SIGTERM: see {program.log}"
            )
        return code


async def _killed(broker: Kafka | Rabbitmq) -> None:
    broker.kill()
    await asyncio.to_thread(broker.start)


def _received(metrics: bytes) -> float:
    lines = metrics.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(_RECEIVED))
