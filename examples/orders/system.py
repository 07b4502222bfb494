"""System: starts every process of the Procfile, says when all are ready, and ends all when one ends."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from examples.orders import bridges, embedded_postgres, schema
from examples.orders.answering import all_answer
from examples.orders.inventory import shelves
from examples.orders.signals import stopped
from examples.orders.variables import create_databases, read_variables
from nsqkit import Settings

ROOT: Final = Path(__file__).parents[2]
PROCFILE: Final = Path(__file__).with_name("Procfile")
START_S: Final = 120.0
"""Seconds until all processes must be ready."""
STOP_S: Final = 30.0
"""Seconds that a process has to end, before it is killed."""
READY: Final = {
    "broker": "http://127.0.0.1:{BROKER_HTTP}/ping",
    "gateway": "http://{NSQKIT_APP_GATEWAY_HTTP}/readyz",
    "orders_worker": "http://127.0.0.1:{ORDERS_ADMIN}/readyz",
    "inventory": "http://127.0.0.1:{INVENTORY_ADMIN}/readyz",
    "payments": "http://127.0.0.1:{PAYMENTS_ADMIN}/readyz",
    "notifications": "http://127.0.0.1:{NOTIFICATIONS_ADMIN}/readyz",
    "edge": "http://{NSQKIT_APP_EDGE_HTTP}/readyz",  # it asks orders
    "rabbitmq": "tcp://127.0.0.1:{AMQP_PORT}",
    "bridge": "http://127.0.0.1:{BRIDGE_ADMIN}/readyz",  # it is connected to Kafka
}
"""Addresses that answer once a process is ready, by its name."""
_ADDRESSES: Final = (
    ("REST API", "http://{NSQKIT_APP_EDGE_HTTP}/api/v1"),
    ("its documentation", "http://{NSQKIT_APP_EDGE_HTTP}/api/v1/docs"),
    ("gRPC", "{NSQKIT_APP_ORDERS_GRPC}"),
    ("payment gateway", "http://{NSQKIT_APP_GATEWAY_HTTP}/docs"),
    ("NSQ", "{NSQKIT_NSQD}"),
    ("monitor of orders", "http://127.0.0.1:{ORDERS_ADMIN}/"),
    ("monitor of inventory", "http://127.0.0.1:{INVENTORY_ADMIN}/"),
    ("monitor of payments", "http://127.0.0.1:{PAYMENTS_ADMIN}/"),
    ("monitor of notifications", "http://127.0.0.1:{NOTIFICATIONS_ADMIN}/"),
)
_BRIDGED: Final = (
    ("Kafka", "127.0.0.1:{KAFKA_PORT}"),
    ("RabbitMQ", "127.0.0.1:{AMQP_PORT}"),
    ("monitor of bridge", "http://127.0.0.1:{BRIDGE_ADMIN}/"),
)
_BROKERS: Final = ("broker", "kafka", "rabbitmq")


class EndedError(Exception):
    """A process has ended by itself.

    Args:
        name: Its name in the Procfile.
        log: The end of its log.
    """

    def __init__(self, name: str, log: str) -> None:
        super().__init__(name, log)
        self.name = name
        self.log = log

    def __str__(self) -> str:
        return f"{self.name} has ended; the end of its log:\n{self.log}"


class Processes:
    """The processes of the Procfile, apart from those that are left out.

    Args:
        variables: Their environment.
        logs: Folder of their logs.
        without: Names to leave out.
        has_bridges: Whether to run those of ``Procfile.bridges``, too.
    """

    def __init__(
        self,
        variables: Mapping[str, str],
        logs: Path,
        without: Sequence[str] = (),
        *,
        has_bridges: bool = False,
    ) -> None:
        self._variables = variables
        self._logs = logs
        self._without = without
        self._has_bridges = has_bridges
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        bridged = commands(bridges.PROCFILE) if self._has_bridges else ()
        for name, command in (*commands(), *bridged):
            if name not in self._without:
                (self._logs / f"{name}.log").unlink(missing_ok=True)
                await self._start(name, command)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """End all processes, the brokers last: the others still give their messages back to them."""
        brokers = [each for name, each in self._running.items() if name in _BROKERS]
        others = [each for name, each in self._running.items() if name not in _BROKERS]
        for each in (others, brokers):
            await asyncio.gather(*map(_end, each))

    async def wait_ready(self) -> None:
        """Wait until every process that can be asked is ready.

        Raises:
            EndedError: If one ends.
            TimeoutError: If it takes too long.
        """
        urls = [url.format(**self._variables) for name, url in READY.items() if name in self._running]
        async with asyncio.timeout(START_S):
            await self._unless_ended(all_answer(urls))

    async def wait_stopped(self) -> None:
        """Wait for SIGTERM or SIGINT.

        Raises:
            EndedError: If a process ends.
        """
        await self._unless_ended(stopped())

    async def _start(self, name: str, command: str) -> None:
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = await asyncio.create_subprocess_shell(
                command,
                cwd=ROOT,
                env={**os.environ, **self._variables},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this program, which ends the others
            )

    async def _unless_ended(self, awaited: Coroutine[Any, Any, object]) -> None:
        """Await, until a process ends by itself."""
        waits = asyncio.create_task(awaited)
        ends = [asyncio.create_task(self._end_of(name)) for name in self._running]
        try:
            done, _ = await asyncio.wait([waits, *ends], return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in (waits, *ends):
                each.cancel()
            await asyncio.gather(waits, *ends, return_exceptions=True)

    async def _end_of(self, name: str) -> None:
        await self._running[name].wait()
        log = (self._logs / f"{name}.log").read_text(errors="replace")
        raise EndedError(name, "\n".join(log.splitlines()[-10:]))


def commands(procfile: Path = PROCFILE) -> Iterator[tuple[str, str]]:
    """Yield the names and commands of a Procfile."""
    for line in procfile.read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, command = line.partition(": ")
            yield name, command


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def prepare(variables: Mapping[str, str], postgres: str = "") -> None:
    """Create databases and tables, and fill the shelves.

    Args:
        variables: The environment of the processes.
        postgres: URL of a PostgreSQL; empty for SQLite.
    """
    settings = Settings.load(env=variables)
    if postgres:
        create_databases(postgres)
    for name in schema.SERVICES:
        schema.upgrade(name, settings)
    shelves.fill(shelves.products_of(shelves.BASKETS), settings)


async def run(variables: Mapping[str, str], logs: Path, *, has_broker: bool, has_bridges: bool) -> None:
    """Run all processes until a signal.

    Args:
        variables: Their environment.
        logs: Folder of their logs.
        has_broker: Whether the embedded broker is one of them.
        has_bridges: Whether Kafka, RabbitMQ and the bridge are.
    """
    without = () if has_broker else ("broker",)
    async with Processes(variables, logs, without, has_bridges=has_bridges) as processes:
        await processes.wait_ready()
        for name, address in (*_ADDRESSES, *(_BRIDGED if has_bridges else ())):
            print(f"{name:25} {address.format(**variables)}")
        print(f"{'logs':25} {logs}\nready; Ctrl-C stops all", flush=True)
        await processes.wait_stopped()


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser("order-system", description="Run the order system until Ctrl-C.")
    parser.add_argument(
        "--data", type=Path, default=Path(".orders"), help="folder of databases, mails and logs"
    )
    parser.add_argument("--free-ports", action="store_true", help="choose free ports")
    parser.add_argument("--nsqd", action="append", default=[], metavar="HOST:PORT", help="a real nsqd")
    parser.add_argument(
        "--lookupd", action="append", default=[], metavar="HOST:PORT", help="a real nsqlookupd"
    )
    parser.add_argument(
        "--postgres",
        default="",
        metavar="URL",
        help=f"a PostgreSQL; each service gets a database. '{embedded_postgres.NAME}' starts one",
    )
    parser.add_argument(
        "--bridges",
        action="store_true",
        help="take orders from a real Kafka, and send notifications to a real RabbitMQ; starts both",
    )
    given = parser.parse_args()
    data = given.data.absolute()
    data.mkdir(parents=True, exist_ok=True)
    try:
        if given.bridges:
            bridges.install()
        with _postgres(given.postgres, data) as postgres:
            variables = read_variables(
                data,
                has_free_ports=given.free_ports,
                nsqd=given.nsqd,
                lookupd=given.lookupd,
                postgres=postgres,
            )
            prepare(variables, postgres)
            if given.bridges:
                bridges.write_routes(variables)
            running = run(variables, data / "logs", has_broker=not given.nsqd, has_bridges=given.bridges)
            asyncio.run(running)
    except (EndedError, bridges.BrokersMissingError, embedded_postgres.PostgresMissingError) as error:
        print(f"order-system: {error}", file=sys.stderr)
        return 1
    except TimeoutError:
        print(f"order-system: not ready within {START_S:g} s; see {data / 'logs'}", file=sys.stderr)
        return 1
    return 0


def _postgres(given: str, data: Path) -> contextlib.AbstractContextManager[str]:
    """Return the URL of the PostgreSQL that the command line names, as long as it runs."""
    if given == embedded_postgres.NAME:
        return embedded_postgres.running(data / "postgres")
    return contextlib.nullcontext(given)


if __name__ == "__main__":
    sys.exit(main())
