"""Gathering: bodies for one topic that wait a moment so as to leave in one command."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

MAX_BYTES = 262_144
"""nsqd takes 5 MiB in one command (its max-body-size); more than this at a time gains nothing."""
MAX_MESSAGES = 1000
WAIT_S = 0.002


class Gathering:
    """Sends what comes together: when it is enough, or the first has waited for 2 ms.

    Args:
        send: Publishes bodies, all or none.
    """

    def __init__(self, send: Callable[[Sequence[bytes]], Awaitable[None]]) -> None:
        self._send = send
        self._bodies: list[bytes] = []
        self._n_bytes = 0
        self._confirmed: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def add(self, body: bytes) -> "asyncio.Future[None]":
        """Take one body, and return a future that is done when nsqd has it, or fails as the publish does."""
        loop = asyncio.get_running_loop()
        confirmed: asyncio.Future[None] = loop.create_future()
        self._bodies.append(body)
        self._confirmed.append(confirmed)
        self._n_bytes += len(body)
        if self._n_bytes >= MAX_BYTES or len(self._bodies) >= MAX_MESSAGES:
            self.flush()
        elif self._timer is None:
            self._timer = loop.call_later(WAIT_S, self.flush)
        return confirmed

    def flush(self) -> None:
        """Send what is here now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        bodies, confirmed = self._bodies, self._confirmed
        self._bodies, self._confirmed, self._n_bytes = [], [], 0
        if bodies:
            task = asyncio.create_task(self._see_through(bodies, confirmed))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def drain(self) -> None:
        """Send what is here, and wait until all that was taken is confirmed or has failed."""
        self.flush()
        await asyncio.gather(*self._under_way)

    async def _see_through(self, bodies: list[bytes], confirmed: "list[asyncio.Future[None]]") -> None:
        failure: Exception | None = None
        try:
            await self._send(bodies)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            failure = error
        for each in confirmed:
            if each.done():  # whoever asked has given up
                continue
            if failure is None:
                each.set_result(None)
            else:
                each.set_exception(failure)
