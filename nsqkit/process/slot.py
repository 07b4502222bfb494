"""Slot: one of the places of ``--workers``, with its child worker, its restarts and its replacement."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from nsqkit.monitor import MarkKind
from nsqkit.policy.retry import Exponential
from nsqkit.process.child_state import ChildState
from nsqkit.process.exit_code import described
from nsqkit.process.running_child import ChildEndedError, RunningChild
from nsqkit.program import unless

RESTARTS: Final = Exponential(base_s=1.0, factor=2.0, max_s=60.0)
STEADY_S: Final = 60.0
"""A child that ran for so long after it was ready is restarted after the first delay again."""


class Slot:
    """Keeps one child worker running.

    Args:
        number: Number for people, from 1.
        start: Starts a child worker with this number.
        on_ready: Called with each child when it is ready.
        on_change: Called after a change of its child, with the kind and a sentence.
        grace_s: Seconds that a child has to drain until it is killed.
        log: structlog logger.

    Attributes:
        child: The child that is ready; None while there is none.
        was_ready: Set when the first child is ready.
    """

    def __init__(
        self,
        number: int,
        start: Callable[[int], Awaitable[RunningChild]],
        *,
        on_ready: Callable[[RunningChild], Awaitable[object]],
        on_change: Callable[[MarkKind, str], object],
        grace_s: float,
        log: Any,
    ) -> None:
        self.number = number
        self.child: RunningChild | None = None
        self.was_ready = asyncio.Event()
        self._start = start
        self._on_ready = on_ready
        self._on_change = on_change
        self._grace_s = grace_s
        self._log = log
        self._changes = asyncio.Lock()
        self._processes: list[RunningChild] = []
        self._failures = 0
        self._waits_for = "starting"

    async def keep(self) -> None:
        """Start a child, and another one after each that ends by itself; runs until cancelled.

        Raises:
            ChildEndedError: If a child ends before it was ready: another one would do the same.
        """
        while True:
            async with self._changes:
                if self.child is None:
                    self._waits_for = "starting"
                    self.child = await self._ready_child()
                    if self.was_ready.is_set():
                        self._on_change(MarkKind.START, f"worker {self.number} has started again")
                    self.was_ready.set()
                child = self.child
            await self._until_replaced(child)

    async def replace(self, give_up: asyncio.Event) -> bool:
        """Put a new child in place of the present one, which drains as soon as the new one is ready.

        Args:
            give_up: Ends the wait for the new one when it is set.

        Returns:
            False if the new one ended before it was ready, or was given up; then the present one stays.
        """
        async with self._changes:
            try:
                new = await self._ready_child(give_up)
            except ChildEndedError as error:
                self._log.error("replacement_failed", reason=str(error), next="the earlier worker continues")
                return False
            before, self.child = self.child, new
            self._on_change(MarkKind.DEPLOY, f"worker {self.number} was replaced")
            if before is not None:
                await self._end(before)
        return True

    async def end(self) -> list[int]:
        """Let all processes of this slot drain, and return their exit codes."""
        self.child = None
        self._waits_for = "draining"
        return list(await asyncio.gather(*map(self._end, tuple(self._processes))))

    def kill(self) -> None:
        """End all processes of this slot at once."""
        for child in self._processes:
            child.kill()

    async def state(self) -> ChildState:
        """Return the state of the child; while there is none, of one that is starting."""
        while (child := self._shown()) is not None:
            state = await child.state()
            if child is self._shown():  # otherwise it was replaced meanwhile: its state is nobody's
                return state
        return ChildState(problems=(self._waits_for,))

    def _shown(self) -> RunningChild | None:
        return self.child or next(reversed(self._processes), None)

    async def _ready_child(self, give_up: asyncio.Event | None = None) -> RunningChild:
        child = await self._start(self.number)
        self._processes.append(child)
        try:
            is_ready = await unless(give_up or asyncio.Event(), child.run())
        except ChildEndedError:
            self._forget(child)
            raise
        if not is_ready:
            raise ChildEndedError(self.number, await self._end(child))
        await self._on_ready(child)
        return child

    async def _until_replaced(self, child: RunningChild) -> None:
        """Wait until a child has ended; if nobody has stopped it, wait for the time until the next start."""
        ready_s = time.monotonic()
        code = await child.wait()
        if self.child is not child:
            return
        self.child = None
        self._forget(child)
        is_steady = time.monotonic() - ready_s >= STEADY_S
        self._failures = 1 if is_steady else self._failures + 1
        wait_s = RESTARTS.delay_s(self._failures, draw=random.random())  # noqa: S311 - it spreads restarts
        self._on_change(MarkKind.ENDED, f"worker {self.number} ended with {described(code)}")
        self._waits_for = f"ended with {described(code)}; another one starts in about {wait_s:.0f} s"
        self._log.error(
            "worker_ended",
            worker=self.number,
            pid=child.pid,
            reason=described(code),
            restart_in_s=round(wait_s, 1),
        )
        await asyncio.sleep(wait_s)

    async def _end(self, child: RunningChild) -> int:
        code = await child.stop(self._grace_s)
        self._forget(child)
        return code

    def _forget(self, child: RunningChild) -> None:
        if child in self._processes:
            self._processes.remove(child)
