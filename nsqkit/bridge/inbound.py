"""Inbound: a route from Kafka or RabbitMQ to NSQ; nsqd confirms before a record is marked as done."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from nsqkit.admin import HandlerState, IntakeState
from nsqkit.bridge.bodies import RefusedError, body_of, has_passed
from nsqkit.bridge.hops import hops
from nsqkit.bridge.intake import Intake
from nsqkit.bridge.letters import Letters, Refused
from nsqkit.bridge.nsqd_output import NsqdOutput
from nsqkit.bridge.ports import RecordSource
from nsqkit.bridge.record import Record
from nsqkit.bridge.route import MAX_BATCH, Route
from nsqkit.bridge.route_figures import RouteFigures
from nsqkit.errors import BridgeError, ConnectionLostError, DeadLetterStoreError, OutageError, PublishError
from nsqkit.policy.redaction import describe, redact
from nsqkit.policy.retry import Exponential
from nsqkit.policy.route import PauseReason, RefusalReason
from nsqkit.policy.verdict import DeadLetterReason, OutcomeLabel
from nsqkit.program import is_set_within
from nsqkit.worker.parts import CompanionParts

T = TypeVar("T")
Passing = list[tuple[Record, bytes]]
AWAY: Final = Exponential(base_s=0.2, max_s=5.0)
"""Pauses before another attempt while a broker or nsqd is away."""
BLOCKED: Final = Exponential(base_s=5.0, max_s=300.0)
"""Pauses before another attempt at what only a person can correct."""


class _StoppedError(Exception):
    """The route stops in the middle of a batch, which is read again later."""


class Inbound:
    """One route to NSQ, as a companion of a worker.

    A batch is read, published, confirmed by nsqd, and only then marked as done at its source. What NSQ cannot
    take is stored before. If nsqd, the store or the source fails, the same batch is tried again.

    Args:
        route: The route.
        source: What it reads.
        parts: Parts of the worker.
    """

    def __init__(self, route: Route, source: RecordSource, parts: CompanionParts) -> None:
        self.route = route
        self.name = route.name
        self._source = source
        self._parts = parts
        self._log = parts.log.bind(route=route.name, source=route.source.label, topic=route.topic)
        self._meter = parts.metrics.for_handler(
            route.topic, route.source.label, route.name, max_in_flight=MAX_BATCH
        )
        self._output = NsqdOutput(route.topic, parts.settings, parts.publishers)
        self._letters = Letters(route, parts.settings.dead_store)
        self.figures = RouteFigures(route.name, lambda: self._broker_problems, parts.metrics)
        self._intake = Intake(route, source, parts, self._meter, self.figures)
        self._hops = hops()
        self._task: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()
        self._stopping = asyncio.Event()
        self._held = 0
        self._problem = ""
        self._must_open = False

    @property
    def held(self) -> int:
        """Records that are read and not confirmed yet."""
        return self._held

    @property
    def is_blocked(self) -> bool:
        """Whether it waits for a person."""
        return PauseReason.BLOCKED in self.figures.pauses

    @property
    def problems(self) -> tuple[str, ...]:
        """Why records cannot pass now, one line each."""
        found = (self._problem,) if self._problem else self._broker_problems
        found += (self._intake.problem,) if self._intake.problem else ()
        return tuple(redact(f"{self.name} ({self.route.source.label}): {problem}") for problem in found)

    @property
    def _broker_problems(self) -> tuple[str, ...]:
        return self._source.problems if self._opened.is_set() else (self._problem or "not connected yet",)

    @property
    def state(self) -> HandlerState:
        """Its present state, as the admin port shows that of a handler."""
        state = IntakeState.PAUSED if self._intake.is_paused else IntakeState.RUNNING
        return HandlerState(
            name=self.name,
            topic=self.route.topic,
            channel=self.route.source.label,
            held=self._held,
            max_in_flight=MAX_BATCH,
            state=IntakeState.BLOCKED if self.is_blocked else state,
            remaining_s=self._intake.remaining_s,
            problems=self.problems,
            lag=self.figures.lag,
            last_error=self.figures.last_error,
        )

    async def start(self) -> None:
        """Connect, and start to read; a broker that is away is tried again in the background.

        Raises:
            BridgeError: If what it reads does not exist, or the broker refuses the credentials.
        """
        try:
            await self._source.open()
        except BridgeError as error:
            raise BridgeError(f"{self.route.where}: {error}") from error
        except OutageError as error:
            self._note(str(error))
        else:
            self._on_open()
        self._intake.start()
        self._task = self._parts.background.start(self._run(), f"route {self.name}")

    async def wait_ready(self) -> None:
        """Wait until its source is connected for the first time."""
        await self._opened.wait()

    async def stop(self, grace_s: float) -> None:
        """Finish the batch under way, and disconnect; a batch that is not finished is read again later.

        Args:
            grace_s: Seconds for the batch; 0 or more.
        """
        self._stopping.set()
        await self._intake.stop()
        if self._task is not None:
            if not self._held:
                self._task.cancel()  # it waits for records
            _, pending = await asyncio.wait({self._task}, timeout=grace_s)
            for task in pending:
                task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._held = 0
        await self._source.close()

    def pause(self, for_s: float = math.inf) -> None:
        """Read nothing for *for_s* seconds; infinite until :meth:`resume`."""
        self._intake.pause(for_s)

    def resume(self) -> None:
        """End the pause that :meth:`pause` began."""
        self._intake.resume()

    async def _run(self) -> None:
        try:
            if not self._opened.is_set():
                await self._until_done(self._source.open)
                self._on_open()
            while not self._stopping.is_set():
                await self._pass_on(await self._until_done(self._read))
        except _StoppedError:
            return

    async def _read(self) -> Sequence[Record]:
        """Read, from a new connection if a person had to help before."""
        if self._must_open:
            self._intake.is_open = False
            await self._source.close()
            await self._source.open()
            self._intake.is_open = True
            self._must_open = False
            self._note("")  # records may be long in coming
        try:
            return await self._source.read()
        except BridgeError:
            self._must_open = True
            raise

    def _on_open(self) -> None:
        self._opened.set()
        self._intake.is_open = True
        self._log.info("route_opened")

    async def _pass_on(self, records: Sequence[Record]) -> None:
        """Publish or store a batch, then mark it as done."""
        self._held = len(records)
        self._meter.received(len(records))
        self.figures.redelivered += sum(record.is_redelivered for record in records)
        began_s = time.monotonic()
        passing, refused = self._sorted(records)
        too_large = await self._published(passing)
        refused += too_large
        if refused:
            await self._until_done(lambda: self._letters.add(refused))
        await self._until_done(lambda: self._source.confirm(records))
        self._meter.duration(time.monotonic() - began_s)
        self._count(len(records), len(passing) - len(too_large), refused)
        self._held = 0

    async def _published(self, passing: Passing) -> Refused:
        """Publish records, and return those that nsqd refuses for their size."""
        if not passing:
            return []
        bodies = [body for _, body in passing]
        began_ns = time.time_ns()
        too_large = await self._until_done(lambda: self._output.publish(bodies))
        if self._hops is not None:
            passed = (body for index, body in enumerate(bodies) if index not in too_large)
            self._hops.published(self.route.topic, passed, began_ns)
        self._intake.published(len(passing) - len(too_large))
        return [
            (passing[index][0], RefusedError(RefusalReason.TOO_LARGE, reason))
            for index, reason in too_large.items()
        ]

    def _sorted(self, records: Sequence[Record]) -> tuple[Passing, Refused]:
        """Return the records to publish with their bodies, and those that NSQ cannot take."""
        passing: Passing = []
        refused: Refused = []
        for record in records:
            try:
                if not has_passed(record, self.route):
                    passing.append((record, body_of(record, self.route)))
            except RefusedError as error:
                refused.append((record, error))
            except Exception as error:  # noqa: BLE001 - whatever its bytes have caused, the others must pass
                refused.append((record, RefusedError(RefusalReason.UNREADABLE, describe(error))))
        return passing, refused

    async def _until_done(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat an attempt until it succeeds.

        Raises:
            _StoppedError: If the route stops meanwhile.
        """
        failures = 0
        while True:
            try:
                done = await attempt()
            except (OutageError, ConnectionLostError) as error:
                self._note(str(error))
                backoff = AWAY
            except PublishError as error:
                self._note(str(error), is_blocked=error.permanent)
                backoff = BLOCKED if error.permanent else AWAY
            except (BridgeError, DeadLetterStoreError) as error:
                self._note(str(error), is_blocked=True)
                backoff = BLOCKED
            else:
                self._note("")
                return done
            failures += 1
            await self._wait(backoff.delay_s(failures, draw=random.random()))  # noqa: S311 - spreads load

    async def _wait(self, delay_s: float) -> None:
        if await is_set_within(self._stopping, delay_s):
            raise _StoppedError

    def _note(self, problem: str, *, is_blocked: bool = False) -> None:
        """Keep why the route waits, and log it once; empty if it goes on."""
        if problem == self._problem:
            return
        before, self._problem = self._problem, problem
        self._intake.set(PauseReason.BLOCKED, holds=is_blocked)
        if not problem:
            self._log.info("route_continues", reason=redact(before))
            return
        self.figures.fail(problem)
        if is_blocked:
            self._log.error("route_blocked", reason=redact(problem))
        else:
            self._log.warning("route_waits", reason=redact(problem))

    def _count(self, read: int, passed: int, refused: Refused) -> None:
        for _ in range(passed):
            self._meter.processed(OutcomeLabel.SUCCESS)
        for _, error in refused:
            self._meter.processed(OutcomeLabel.DEAD_LETTER)
            self._meter.dead_lettered(DeadLetterReason.UNDECODABLE)
            self.figures.refused[error.reason] += 1
        skipped = read - passed - len(refused)
        self.figures.skipped += skipped
        for _ in range(skipped):
            self._meter.processed(OutcomeLabel.DISCARD)
