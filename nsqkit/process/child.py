"""Child workers: a child process loads its handlers at once, and runs them when its parent commands it.

This module implements both ends of the link between the two processes. When the link closes, for any reason,
the worker drains, so it does not outlive its parent. The module does not decide which worker runs when.
"""

import asyncio
import contextlib
import json
import os
import pickle
import select
import signal
import socket
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, cast

from nsqkit.settings.settings import Settings

_GO = b"g"
_LENGTH_BYTES = 4
_MOST_LINE_BYTES = 16 << 20
_MASKS: list[set[int | signal.Signals]] = []
"""The mask of signals before each start of a process that goes on, the first one first."""

Subscriptions = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The modules and settings of a child worker.

    Args:
        targets: Modules, packages or ``module:Class``; or the file of a bridge.
        settings: Settings of the worker.
        number: Number of the child for its log lines, from 1; 0 for the only one.
        counts: File descriptor of the memory for its counts; None without.
    """

    targets: tuple[str, ...]
    settings: Settings
    number: int = 0
    counts: int | None = None


class ChildWorker:
    """The parent's end of the link, with the worker's process.

    Args:
        process: Process of the worker.
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
    async def start(
        cls,
        command: Sequence[str],
        plan: Plan,
        *,
        blocked: Collection[signal.Signals] = (signal.SIGINT,),
        env: Mapping[str, str] | None = None,
    ) -> Self:
        """Start a child process that loads its handlers.

        A terminal sends Ctrl-C to all of its processes. SIGINT is blocked in the child, so that only the
        parent decides when it stops.

        Args:
            command: Program and arguments; the number of a file descriptor is appended.
            plan: Modules and settings to load.
            blocked: Signals that the child does not receive.
            env: Its environment; by default that of this process.
        """
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_MOST_LINE_BYTES)
        try:
            descriptors = [theirs.fileno(), *([] if plan.counts is None else [plan.counts])]
            with theirs, _blocked(blocked):
                process = await asyncio.create_subprocess_exec(
                    *command, str(theirs.fileno()), pass_fds=descriptors, env=env
                )
        except BaseException:
            writer.close()
            raise
        pickled = pickle.dumps(plan)
        writer.write(len(pickled).to_bytes(_LENGTH_BYTES, "big") + pickled)
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def link(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The streams of the link, for messages after the command to run."""
        return self._reader, self._writer

    async def loaded(self) -> Subscriptions | None:
        """Wait for the handlers to load, and return their subscriptions; None if loading fails."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        return [(topic, channel) for topic, channel in json.loads(line)] if line else None

    def run(self) -> None:
        """Send the command to run."""
        self.runs = True
        self._writer.write(_GO)

    async def wait(self) -> int:
        """Wait for the process to end, and return its exit code; negative after a signal."""
        code = await self._process.wait()
        self._writer.close()
        return code

    async def stop(self) -> int:
        """Drain the worker if it runs, and wait for its process to end; may be called again.

        Returns:
            The exit code; 0 if the worker did not run yet.
        """
        self._writer.close()
        if not self.runs:
            self.signal(signal.SIGKILL)  # nothing is lost, and an import might hang
        code = await self.wait()
        return 0 if not self.runs or code == -signal.SIGTERM else code

    def signal(self, number: int) -> None:
        """Send a signal if the process still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


class ParentLink:
    """The worker's end of the link; a context manager.

    Args:
        descriptor: File descriptor of the link, the last argument of the command.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - it has no name there
        self._link = socket.socket(fileno=descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()

    def plan(self) -> Plan:
        """Receive the modules and settings to load.

        Raises:
            EOFError: If the parent process has ended.
        """
        length = int.from_bytes(self._received(_LENGTH_BYTES), "big")
        # The data is from the parent, over a socket that no other process has.
        return cast("Plan", pickle.loads(self._received(length)))  # noqa: S301

    def _received(self, length: int) -> bytes:
        data = self._link.recv(length, socket.MSG_WAITALL)
        if len(data) < length:
            raise EOFError("the parent process has ended")
        return data

    def wait_turn(self, subscriptions: Subscriptions) -> bool:
        """Report that the handlers are loaded, and wait for the command to run.

        After the command, this process sends itself SIGTERM to drain when the link closes.

        Args:
            subscriptions: Pairs of topic and channel.

        Returns:
            Whether to run; False if the parent closed the link instead.
        """
        try:
            self._link.sendall(json.dumps(list(subscriptions)).encode() + b"\n")
            command = self._link.recv(1)
        except ConnectionError:
            return False
        if command == _GO:
            thread = threading.Thread(
                target=self._end_with_parent, args=[self._link.fileno()], name="parent", daemon=True
            )
            thread.start()
        return command == _GO

    async def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the streams of the link, for messages after the command to run; they own it from now on."""
        link = socket.socket(fileno=self._link.detach())
        return await asyncio.open_unix_connection(sock=link, limit=_MOST_LINE_BYTES)

    def _end_with_parent(self, descriptor: int) -> None:
        """Wait until the parent closes the link, without reading it."""
        hang_up = select.poll()
        hang_up.register(descriptor, 0)
        hang_up.poll()
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _blocked(numbers: Collection[signal.Signals]) -> Iterator[None]:
    """Block signals; a process that is started meanwhile inherits the block.

    Several processes may start at once: the last one restores the mask that the first one found.
    """
    _MASKS.append(signal.pthread_sigmask(signal.SIG_BLOCK, numbers))
    try:
        yield
    finally:
        mask = _MASKS.pop()
        if not _MASKS:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
