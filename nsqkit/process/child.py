"""ChildWorker: a worker in a child process that loads its handlers at once, and runs when its parent says so.

The module holds both ends of the link between the two processes. When the link closes, for whatever reason,
the worker drains: it does not outlive its parent. This module does not decide which worker runs when.
"""

import asyncio
import contextlib
import json
import os
import pickle
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self, cast

from nsqkit.settings.settings import Settings

_GO = b"g"
_LENGTH_BYTES = 4

Subscriptions = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker is to run.

    Args:
        targets: Modules, packages or ``module:Class``.
        settings: Its settings.
    """

    targets: tuple[str, ...]
    settings: Settings


class ChildWorker:
    """The parent's end of the link, and the worker's process.

    Args:
        process: The worker's process.
        reader: Receives the subscriptions that the worker reports.
        writer: Sends the plan and the command to run.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.runs = False

    @classmethod
    async def start(cls, command: Sequence[str], plan: Plan) -> Self:
        """Start a process that begins to load.

        Ctrl-C reaches every process of a terminal. Here it is blocked, so that the parent alone decides.

        Args:
            command: A program and its arguments; the number of a file descriptor is put behind them.
            plan: What to load.
        """
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            with theirs, _blocked(signal.SIGINT):
                process = await asyncio.create_subprocess_exec(
                    *command,
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    # A file that changes twice in a second and keeps its size looks compiled already.
                    env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                )
        except BaseException:
            writer.close()
            raise
        pickled = pickle.dumps(plan)
        writer.write(len(pickled).to_bytes(_LENGTH_BYTES, "big") + pickled)
        return cls(process, reader, writer)

    async def loaded(self) -> Subscriptions | None:
        """Wait until the handlers are loaded, and return what they subscribe to; None if they are not."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        return [(topic, channel) for topic, channel in json.loads(line)] if line else None

    def run(self) -> None:
        """Tell the worker to run."""
        self.runs = True
        self._writer.write(_GO)

    async def wait(self) -> int:
        """Wait until the process has ended, and return its exit code; below 0 it was a signal."""
        return await self._process.wait()

    async def stop(self) -> int:
        """Let the worker drain if it runs, and wait for its end; may be called again.

        Returns:
            The exit code; 0 if it did not run yet.
        """
        self._writer.close()
        if not self.runs:
            self.signal(signal.SIGKILL)  # nothing is lost, and an import may never end
        code = await self.wait()
        return 0 if not self.runs or code == -signal.SIGTERM else code

    def signal(self, number: int) -> None:
        """Send a signal, if the process is still there."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


class ParentLink:
    """The worker's end of the link; a context manager.

    Args:
        descriptor: The file descriptor that followed the command's arguments.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - it has no name there
        self._link = socket.socket(fileno=descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()

    def plan(self) -> Plan:
        """Return what to load.

        Raises:
            EOFError: If the parent is gone.
        """
        length = int.from_bytes(self._received(_LENGTH_BYTES), "big")
        # It comes from the parent, over a socket that nobody else has.
        return cast("Plan", pickle.loads(self._received(length)))  # noqa: S301

    def _received(self, length: int) -> bytes:
        data = self._link.recv(length, socket.MSG_WAITALL)
        if len(data) < length:
            raise EOFError("the process that started this one is gone")
        return data

    def wait_turn(self, subscriptions: Subscriptions) -> bool:
        """Report that the handlers are loaded, and wait for the command to run.

        From then on the parent's end makes this process drain, by a SIGTERM of its own.

        Args:
            subscriptions: (topic, channel) each.

        Returns:
            Whether to run; False if the worker is not wanted any more.
        """
        try:
            self._link.sendall(json.dumps(list(subscriptions)).encode() + b"\n")
            told = self._link.recv(1)
        except ConnectionError:
            return False
        if told == _GO:
            threading.Thread(target=self._end_with_parent, name="parent", daemon=True).start()
        return told == _GO

    def _end_with_parent(self) -> None:
        with contextlib.suppress(ConnectionError):
            self._link.recv(1)
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    """Block a signal; a process that is started meanwhile has it blocked for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
