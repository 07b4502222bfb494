"""Running child: a child worker that runs its handlers, and what its parent knows of it."""

import asyncio
import signal
from typing import Any

from nsqkit.errors import NsqkitError
from nsqkit.policy.redaction import describe
from nsqkit.process.child import ChildWorker, Subscriptions
from nsqkit.process.child_run import COUNTS, READY, STARTED
from nsqkit.process.child_state import ChildState
from nsqkit.process.exit_code import described
from nsqkit.process.requests import Message, NoAnswerError, Requests
from nsqkit.program import unless
from nsqkit.telemetry.metrics.cells import CellReader


class ChildEndedError(NsqkitError):
    """A child worker has ended before it was ready.

    Args:
        number: Number of the child, from 1.
        code: Its exit code; negative after a signal.
    """

    def __init__(self, number: int, code: int) -> None:
        super().__init__(number, code)
        self.number = number
        self.code = code

    def __str__(self) -> str:
        return f"worker {self.number} ended before it was ready, {described(self.code)}"


class RunningChild:
    """A child worker from its start to its end.

    Args:
        number: Its number for people, from 1.
        worker: The process and the link.
        counts: The memory of its counts.
        log: structlog logger.
    """

    def __init__(self, number: int, worker: ChildWorker, counts: CellReader, log: Any) -> None:
        self.number = number
        self.subscriptions: Subscriptions = ()
        self.has_started = False
        self._worker = worker
        self._counts = counts
        self._log = log
        self._ready = asyncio.Event()
        self._requests = Requests(*worker.link, self._on_event)
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._worker.pid

    async def run(self) -> None:
        """Wait until its handlers are loaded, let it run, and wait until it is ready.

        Raises:
            ChildEndedError: If it ends before.
        """
        subscriptions = await self._worker.loaded()
        if subscriptions is None:
            raise ChildEndedError(self.number, await self.wait())
        self.subscriptions = subscriptions
        self._worker.run()
        self._reading = asyncio.create_task(self._read())
        if not await unless(self._ready, self.wait()):
            return
        raise ChildEndedError(self.number, await self.wait())

    async def wait(self) -> int:
        """Wait for its end, and return its exit code; negative after a signal."""
        code = await self._worker.wait()
        self._counts.close()
        return code

    async def stop(self, grace_s: float) -> int:
        """Let it drain, and return its exit code; may be called again.

        Args:
            grace_s: Seconds after which it is killed.
        """
        try:
            async with asyncio.timeout(grace_s):
                code = await self._worker.stop()
        except TimeoutError:
            self._log.error("worker_killed", worker=self.number, after_s=grace_s)
            self.kill()
            code = await self._worker.stop()
        self._counts.close()
        return code

    def kill(self) -> None:
        """End it at once."""
        self._worker.signal(signal.SIGKILL)

    async def ask(self, question: str, **arguments: object) -> Any:
        """Ask it something; see :func:`nsqkit.process.child_run.calls_of`.

        Raises:
            NoAnswerError: If it does not answer.
        """
        return await self._requests.ask(question, **arguments)

    async def state(self) -> ChildState:
        """Return its state; one that does not answer is neither live nor ready."""
        if not self.has_started:
            return ChildState(problems=("starting",))
        try:
            return ChildState.read(await self.ask("state"))
        except NoAnswerError as error:
            return ChildState(faults=(str(error),), problems=(str(error),))

    async def _read(self) -> None:
        try:
            await self._requests.read()
        except Exception as error:  # noqa: BLE001 - then no later line can be trusted
            self._log.error("worker_unreadable", worker=self.number, reason=describe(error))
            self.kill()

    def _on_event(self, message: Message) -> None:
        if message["event"] == COUNTS:
            self._counts.extend(message["groups"])
        elif message["event"] == STARTED:
            self.has_started = True
        elif message["event"] == READY:
            self._ready.set()
