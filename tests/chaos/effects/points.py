"""Points: where a process can be killed between two of its writes. It patches only processes of the tool."""

import functools
import inspect
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nsqkit.runtime.settle import Settler
from nsqkit.sql import outbox, transaction
from nsqkit.sql.relay import Relay
from nsqkit.sql.saga import handlers, turn

HANDLER, RELAY, SAGA = "handler", "relay", "saga"


@dataclass(frozen=True, slots=True)
class Point:
    """One place at which a process is killed.

    Args:
        role: The process: ``HANDLER``, ``RELAY`` or ``SAGA``.
        word: Identifies it within its role.
        where: Its place, in words.
        is_of_each: Whether each order comes by; otherwise several come by together.
    """

    role: str
    word: str
    where: str
    is_of_each: bool = True

    @property
    def name(self) -> str:
        """Its name in tables and in the ids of orders."""
        return f"{self.role}-{self.word}"


POINTS: Final = (
    Point(SAGA, "begun", "between the claim of a call and the call"),
    Point(SAGA, "calling", "inside of a call, after its effect"),
    Point(SAGA, "called", "between the result of a call and its commit"),
    Point(SAGA, "written", "after the writes of a turn, before their commit"),
    Point(SAGA, "committed", "after the commit of a turn, before its command leaves"),
    Point(SAGA, "published", "after the command has left, before FIN"),
    Point(HANDLER, "written", "after the writes of a message, before their commit"),
    Point(HANDLER, "committed", "after the commit, before the publish of its event"),
    Point(HANDLER, "published", "after the publish, before FIN"),
    Point(HANDLER, "confirmed", "after FIN, before the event is marked as sent", is_of_each=False),
    Point(RELAY, "claiming", "after the claim of events, before its commit", is_of_each=False),
    Point(RELAY, "claimed", "between the claim and the publish"),
    Point(RELAY, "confirmed", "between nsqd's OK and the mark", is_of_each=False),
)


class Killer:
    """Kills its own process, as ``kill -9`` does, at the point for which a file asks.

    Args:
        folder: The file's folder, and that of ledgers.
        role: Role of this process.
    """

    def __init__(self, folder: Path, role: str) -> None:
        self.folder = folder
        self._role = role
        self._passed: Counter[str] = Counter()

    def pass_by(self, word: str) -> None:
        """Die here, if the file asks for it and as many have passed by as it spares."""
        order = armed(self.folder, f"{self._role}-{word}")
        if not order.exists():
            return
        self._passed[word] += 1
        if self._passed[word] > int(order.read_text()):
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


killers: Final[list[Killer]] = []
"""The one of this process; none in a process of somebody else."""


def armed(folder: Path, name: str) -> Path:
    """Return the file that asks for a death at a point; it has the number of passes to spare.

    Args:
        folder: Folder of the run.
        name: Name of the point.
    """
    return folder / f"{name}.armed"


def pass_by(word: str) -> None:
    """Die at a point, if it is time to."""
    for each in killers:
        each.pass_by(word)


def patch(folder: Path, role: str) -> None:
    """Let this process pass by the points of its role.

    Args:
        folder: Folder of the run.
        role: Role of this process.
    """
    killers.append(Killer(folder, role))
    _before(handlers, "_result", "begun")
    _after(handlers, "_result", "called")
    _after(turn, "stored", "written")
    _after(turn.Turns, "_committed", "committed", lambda arguments, _: arguments[1].outgoing)
    _after(transaction, "stored", "written")
    _after(transaction.Transaction, "commit", "committed", lambda arguments, _: not arguments[0].is_given_up)
    _after(Settler, "_publish", "published")
    _before(outbox, "mark_sent", "confirmed")
    _after(outbox, "claim", "claiming", lambda _, claimed: claimed)
    _before(Relay, "_publish", "claimed")


def _before(owner: Any, name: str, word: str) -> None:
    function = getattr(owner, name)

    @functools.wraps(function)
    def patched(*arguments: Any, **options: Any) -> Any:
        pass_by(word)
        return function(*arguments, **options)

    setattr(owner, name, patched)


def _after(
    owner: Any, name: str, word: str, counts: Callable[[tuple[Any, ...], Any], Any] = lambda *_: True
) -> None:
    """Pass by a point each time a function has returned, if that *counts* by its arguments and its result."""
    function = getattr(owner, name)

    def returned(arguments: tuple[Any, ...], result: Any) -> Any:
        if counts(arguments, result):
            pass_by(word)
        return result

    @functools.wraps(function)
    async def patched_on_loop(*arguments: Any, **options: Any) -> Any:
        return returned(arguments, await function(*arguments, **options))

    @functools.wraps(function)
    def patched(*arguments: Any, **options: Any) -> Any:
        return returned(arguments, function(*arguments, **options))

    setattr(
        owner, name, patched_on_loop if inspect.iscoroutinefunction(inspect.unwrap(function)) else patched
    )
