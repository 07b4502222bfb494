"""Run: kills the shop's processes at each point, with orders in flight, and lets the others go on."""

import contextlib
import random
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from nsqkit.nsq.http import NsqdHttp
from nsqkit.ops.channels import subscriptions_of
from nsqkit.settings.settings import Settings
from nsqkit.sql import outbox
from nsqkit.sql.one_transaction import in_transaction
from tests.chaos.cluster import waiting
from tests.chaos.effects.books import TABLES, Books, Finding, finding, left, strangers
from tests.chaos.effects.points import HANDLER, RELAY, SAGA, Point, armed
from tests.chaos.effects.shop import LATE, Placed, database
from tests.chaos.errors import ChaosFailedError
from tests.chaos.programs import Program, Programs, answering
from tests.ports import free_port
from tests.waiting import PATIENCE_S, until

_SHOP: Final = "tests.chaos.effects.shop"
_LATE_EVERY: Final = 4
_QUIET_LOOKS: Final = 5  # /stats is not atomic
_QUICK: Final = ("--set", "msg_timeout_s=1", "--set", "outbox_lease_s=1", "--log-format", "json")
ACCEPT: Final = f"{_SHOP}:Accept"


class Stage:
    """The processes of a run, and its database.

    Args:
        programs: The processes.
        folder: Folder of the run.
        url: URL of an empty database.
        nsqd: Path of the program.
        accept: The handler of ``Placed``, as ``module:Class``.
    """

    def __init__(self, programs: Programs, folder: Path, url: str, nsqd: Path, accept: str) -> None:
        self._programs = programs
        self._folder = folder
        self._commands = {
            HANDLER: ("run", accept, f"{_SHOP}:Stock", "--admin-port", "0"),
            SAGA: ("run", f"{_SHOP}:Sale", "--admin-port", "0"),
            RELAY: ("relay", database.name),
        }
        tcp, self._http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self._nsqd = (str(nsqd), f"-tcp-address={tcp}", f"-http-address={self._http}", f"-data-path={folder}")
        self._options = ("--nsqd", tcp, *_QUICK, "--app", f"effects_url={url}")
        self.settings = Settings(app={"effects_url": url}, nsqd=(tcp,), lock_timeout_s=PATIENCE_S)
        self._running: dict[str, Program] = {}

    async def start(self) -> None:
        """Create the tables and the channels, and start everything."""
        database.upgrade(self.settings)
        self.transaction(_create)
        nsqd = await self._start_nsqd()
        for topic, channel in subscriptions_of([_SHOP], self.settings):
            await NsqdHttp(self._http).create_channel(topic, channel)
        nsqd.signal(signal.SIGTERM)
        await nsqd.wait()
        await self._start_nsqd()  # it looks at the timers of a new channel only after up to 5 s
        for role in self._commands:
            self._start(role)

    async def _start_nsqd(self) -> Program:
        nsqd = self._programs.start("nsqd", self._nsqd)
        await answering(nsqd, self._http)
        return nsqd

    def _start(self, role: str) -> None:
        mortal = (sys.executable, "-m", "tests.chaos.effects.mortal", str(self._folder), role)
        self._running[role] = self._programs.start(role, (*mortal, *self._commands[role], *self._options))

    def transaction(self, work: Callable[[Connection], Any]) -> Any:
        """Return what a function of a connection returns, after its commit.

        Args:
            work: The function.
        """
        return in_transaction(database.name, self.settings, work)

    async def kill(self, point: Point, spare: int, orders: Sequence[str]) -> None:
        """Place orders, let a process die at a point meanwhile, and start another one.

        Args:
            point: The point.
            spare: How often the process passes by before it dies.
            orders: Ids of the orders.

        Raises:
            ChaosFailedError: If no process dies there.
        """
        order, victim = armed(self._folder, point.name), self._running[point.role]
        order.write_text(str(spare))
        self.transaction(partial(_place, orders))
        if await victim.wait() != -signal.SIGKILL or order.exists():
            raise ChaosFailedError(f"no process died at {point.name}: see {victim.log}")
        self._start(point.role)

    async def settle(self, time_limit_s: float) -> None:
        """Wait until no event, message or saga is left; after the time limit, the books show what is.

        Args:
            time_limit_s: Longest wait, in seconds.

        Raises:
            ChaosFailedError: If a process has ended by itself.
        """
        looks = 0

        async def is_quiet() -> bool:
            nonlocal looks
            self._require_alive()
            rest = sum(map(waiting, await self._topics())) + self.transaction(left)
            looks = 0 if rest else looks + 1
            return looks == _QUIET_LOOKS

        with contextlib.suppress(AssertionError):
            await until(is_quiet, timeout_s=time_limit_s)

    def _require_alive(self) -> None:
        for role, program in self._running.items():
            if program.code is not None:
                raise ChaosFailedError(f"the process of {role} has ended by itself: see {program.log}")

    async def _topics(self) -> list[dict[str, Any]]:
        stats: Any = await NsqdHttp(self._http, timeout_s=PATIENCE_S).stats()
        return [each for each in stats["topics"] or () if not each["topic_name"].endswith(".dead")]


async def run(
    url: str,
    folder: Path,
    nsqd: Path,
    points: Sequence[Point],
    *,
    messages: int,
    kills: int,
    accept: str = ACCEPT,
    seed: int = 1,
    time_limit_s: float = 3 * PATIENCE_S,
) -> list[Finding]:
    """Kill processes at each point, and return what has become of the orders.

    Args:
        url: URL of an empty database.
        folder: Where ledgers and logs go.
        nsqd: Path of the program.
        points: Where to kill.
        messages: Orders at each point; at least *kills*.
        kills: Processes to kill at each point; 1 or more.
        accept: The handler of ``Placed``, as ``module:Class``.
        seed: Of all draws.
        time_limit_s: Longest wait for the rest, in seconds.

    Raises:
        ChaosFailedError: If a process does not die where it should, or an effect has no request.
    """
    programs, draws = Programs(folder), random.Random(seed)
    stage = Stage(programs, folder, url, nsqd, accept)
    try:
        await stage.start()
        for point in points:
            orders = [_order_id(point, number) for number in range(messages)]
            for number in range(kills):
                some = orders[number::kills]
                spare = draws.randrange(len(some) // 2 + 1) if point.is_of_each else 0
                await stage.kill(point, spare, some)
        await stage.settle(time_limit_s)
        books = stage.transaction(partial(Books.read, folder=folder))
    finally:
        await programs.end()
    if unknown := strangers(books):
        raise ChaosFailedError(f"effects of requests that were not committed: {', '.join(sorted(unknown))}")
    return [finding(books, point.name, kills) for point in points]


def _order_id(point: Point, number: int) -> str:
    return f"{point.name}-{number}{LATE if number % _LATE_EVERY == 0 else ''}"


def _create(connection: Connection) -> None:
    for each in TABLES:
        connection.exec_driver_sql(each)


def _place(orders: Sequence[str], connection: Connection) -> None:
    connection.execute(text("INSERT INTO requests VALUES (:id)"), [{"id": each} for each in orders])
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        for each in orders:
            outbox.add(session, Placed(each), source="shop")
        session.commit()
