"""Dials: opens the connections of a worker in turn, so that many dead nsqd delay neither it nor healthy nsqd.

It does not decide when to try again.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from nsqkit.errors import ConnectionLostError
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.failure import failure_of
from nsqkit.nsq.time_limit import LoopTime
from nsqkit.policy.rate import RateLimit, TokenBucket

_AT_ONCE: Final = 100
"""Most connections of one line that are being opened; some systems allow 1,024 open files."""
_PROMPT: Final = RateLimit(per_s=500.0, burst=50)
_PATIENT: Final = RateLimit(per_s=50.0, burst=50)
"""An attempt that fails takes about a millisecond of the event loop."""
_HURRIED_S: Final = 0.5
_PATIENT_AFTER_S: Final = 60.0


class Dials:
    """Opens connections in two lines.

    The prompt line is for nsqd that were not tried yet, or that answered within the last minute. While others
    wait for their turn, each nsqd there has half a second to answer. The patient line is for nsqd that did
    not answer: it is slow, and each of them has its full time.

    While an nsqd is not known to answer, one connection to it is tried, and the others to it wait for the
    result.
    """

    def __init__(self) -> None:
        self._prompt = _Line(_PROMPT)
        self._patient = _Line(_PATIENT)
        self._patient_from_s: dict[str, float] = {}  # by address; infinite for an nsqd that answers
        self._probes: dict[str, _Probe] = {}

    async def open(self, address: str, make: Callable[[str], Connection]) -> Connection:
        """Make a connection and open it when it is its turn.

        Args:
            address: ``host:port`` of the nsqd.
            make: Returns a new connection to an address.

        Raises:
            ConnectionLostError: As of ``Connection.open``; also if another connection to the same nsqd, for
                which this one waited, could not be opened.
            RefusedError: As of ``Connection.open``.
        """
        if self._answers(address):
            return await self._open(address, make)
        if (probe := self._probes.get(address)) is None:
            return await self._probe(address, make)
        await probe.ended.wait()
        if probe.failure is not None:
            raise ConnectionLostError(address, probe.failure)
        return await self._open(address, make)

    def forget(self, address: str) -> None:
        """Forget whether an nsqd answers: it is not wanted any more."""
        self._patient_from_s.pop(address, None)

    def _answers(self, address: str) -> bool:
        return self._patient_from_s.get(address) == math.inf

    async def _probe(self, address: str, make: Callable[[str], Connection]) -> Connection:
        probe = self._probes[address] = _Probe()
        try:
            return await self._open(address, make)
        except ConnectionLostError as error:
            probe.failure = error.reason
            raise
        finally:
            del self._probes[address]
            probe.ended.set()

    async def _open(self, address: str, make: Callable[[str], Connection]) -> Connection:
        now_s = asyncio.get_running_loop().time
        is_prompt = now_s() < self._patient_from_s.get(address, math.inf)
        line = self._prompt if is_prompt else self._patient
        async with line.turn():
            connection = make(address)
            try:
                async with _while_no_others_wait(line) if is_prompt else contextlib.nullcontext():
                    await connection.open()
            except ConnectionLostError:
                self._failed(address, now_s())
                raise
            except TimeoutError as error:
                self._failed(address, now_s())
                raise failure_of(address, error) from error
            self._patient_from_s[address] = math.inf
            return connection

    def _failed(self, address: str, now_s: float) -> None:
        before_s = self._patient_from_s.get(address, now_s)
        self._patient_from_s[address] = now_s + _PATIENT_AFTER_S if before_s == math.inf else before_s


@dataclass(slots=True)
class _Probe:
    """The first connection to an nsqd that is not known to answer.

    Args:
        ended: Set when it was opened, or has failed.
        failure: Why it failed; None if it did not.
    """

    ended: asyncio.Event = field(default_factory=asyncio.Event)
    failure: str | None = None


class _Line:
    """Bounds how many dials run, and how many start per second; they start in order.

    Each dial costs the same, however many wait or are cancelled; asyncio's semaphore would look through all.

    Args:
        limit: How many start per second.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._bucket = TokenBucket(limit)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._running = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_crowded(self) -> bool:
        """Whether dials wait for others to end."""
        return bool(self._waiting) and self._running == _AT_ONCE

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn of one dial, which lasts as long as the context."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._start()
        try:
            await turn
            yield
        finally:
            if not turn.cancelled():
                self._running -= 1
            self._start()

    def _start(self) -> None:
        """Start as many dials as may run now, and look again when there is a next one."""
        loop = asyncio.get_running_loop()
        while self._waiting and self._running < _AT_ONCE and self._timer is None:
            if self._waiting[0].cancelled():
                self._waiting.popleft()
            elif wait_s := self._bucket.take(loop.time()):
                self._timer = loop.call_later(wait_s, self._on_timer)
            else:
                self._running += 1
                self._waiting.popleft().set_result(None)

    def _on_timer(self) -> None:
        self._timer = None
        self._start()


@contextlib.asynccontextmanager
async def _while_no_others_wait(line: _Line) -> AsyncIterator[None]:
    """Give a dial half a second, and again while nobody waits for it to end; then raise TimeoutError."""
    loop = asyncio.get_running_loop()
    time: LoopTime

    def look() -> None:
        nonlocal time
        if line.is_crowded:
            limit.reschedule(loop.time())
        else:
            time = LoopTime(_HURRIED_S, look)

    async with asyncio.timeout(None) as limit:
        time = LoopTime(_HURRIED_S, look)
        try:
            yield
        finally:
            time.cancel()
