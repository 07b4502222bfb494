"""Intake: when a route to NSQ reads and when it pauses: an operator says so, or the topic in nsqd is full."""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from nsqkit.bridge.ports import RecordSource
from nsqkit.bridge.route import Route
from nsqkit.bridge.route_figures import RouteFigures
from nsqkit.errors import ConnectionLostError
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.nodes import http_addresses
from nsqkit.policy.depth_limit import DepthLimit, depth_in
from nsqkit.policy.route import PauseReason
from nsqkit.telemetry.metrics import HandlerMetrics
from nsqkit.worker.parts import CompanionParts

LOOK_S: Final = 1.0
"""Seconds between two looks at the depth of the topic in nsqd, and at the connection of the source."""
_NO_DEPTH: Final = (
    "the depth of {topic} is not known, and max_depth needs it: no nsqd answers over HTTP; see nsqd_http"
)
LAG_S: Final = 5.0
"""Seconds between two questions for what waits at the other broker."""


class Intake:
    """Pauses and resumes the source of one route.

    Args:
        route: The route.
        source: Its source.
        parts: Parts of the worker.
        meter: Counts of the route.
        figures: Figures of the route.

    Attributes:
        problem: Why the depth of the topic is not known; empty if it is, or is not asked for.
        is_open: Whether the source is open, so that it can be asked.
    """

    def __init__(
        self,
        route: Route,
        source: RecordSource,
        parts: CompanionParts,
        meter: HandlerMetrics,
        figures: RouteFigures,
    ) -> None:
        self._route = route
        self._source = source
        self._parts = parts
        self._meter = meter
        self._figures = figures
        self._log = parts.log.bind(route=route.name)
        self._limit = None if route.max_depth is None else DepthLimit(route.max_depth)
        self.problem = ""
        self.is_open = False
        self._lost: tuple[str, ...] = ()
        self._until: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def is_paused(self) -> bool:
        """Whether the source reads nothing; while a route is blocked, it tries its present batch again."""
        return bool(self._figures.pauses - {PauseReason.BLOCKED})

    @property
    def remaining_s(self) -> float | None:
        """Seconds until an operator's pause ends by itself; None if it does not."""
        if self._until is None:
            return None
        return max(0.0, self._until.when() - asyncio.get_running_loop().time())

    def start(self) -> None:
        """Start to look at depth, connection and lag."""
        for pause_s, look, what in ((LOOK_S, self._look, "depth"), (LAG_S, self._ask, "lag")):
            name = f"{what} of route {self._route.name}"
            self._tasks.append(self._parts.background.start(self._every(pause_s, look), name))

    async def stop(self) -> None:
        """Stop looking; may be called before start."""
        self._cancel_timer()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def pause(self, for_s: float = math.inf) -> None:
        """Pause for *for_s* seconds, infinite until :meth:`resume`."""
        self._cancel_timer()
        if for_s < math.inf:
            self._until = asyncio.get_running_loop().call_later(for_s, self.resume)
        self.set(PauseReason.OPERATOR, holds=True)

    def resume(self) -> None:
        """End an operator's pause."""
        self._cancel_timer()
        self.set(PauseReason.OPERATOR, holds=False)

    def published(self, count: int) -> None:
        """Take in that messages were published, one or more."""
        if self._limit is not None:
            self._take(self._limit.published(count))

    def set(self, reason: PauseReason, *, holds: bool) -> None:
        """Set whether there is a reason to read nothing."""
        pauses = self._figures.pauses
        if holds is (reason in pauses):
            return
        was_paused = self.is_paused
        (pauses.add if holds else pauses.discard)(reason)
        self._meter.paused(bool(pauses))
        if reason is not PauseReason.BLOCKED and holds:
            self._log.info("route_paused", reason=str(reason))
        elif reason is not PauseReason.BLOCKED:
            self._log.info("route_resumed", reason=str(reason))
        if self.is_paused is not was_paused:
            (self._source.pause if self.is_paused else self._source.resume)()

    async def _every(self, pause_s: float, look: Callable[[], Any]) -> None:
        while True:
            await look()
            await asyncio.sleep(pause_s)

    async def _look(self) -> None:
        before, self._lost = self._lost, self._source.problems
        if self._lost and self._lost != before:
            self._figures.fail(self._lost[0])
        if self._limit is not None:
            await self._look_at_depth()

    async def _look_at_depth(self) -> None:
        depth = await self._depth()
        if depth is None:
            self.problem = _NO_DEPTH.format(topic=self._route.topic)
        elif self._limit is not None:
            self.problem = ""
            self._take(self._limit.looked(depth))

    async def _depth(self) -> int | None:
        """Return how many messages wait in the topic of all nsqd that answer; None if none does."""
        settings, topic = self._parts.settings, self._route.topic
        read = partial(depth_in, topic=topic)
        try:
            addresses = await http_addresses(settings)
        except ConnectionLostError:  # nsqlookupd is away
            return None
        asked = (NsqdHttp(each, settings.connect_timeout_s).read_stats(read, topic) for each in addresses)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        depths = [each for each in answers if isinstance(each, int)]
        return sum(depths) if depths else None

    def _take(self, limit: DepthLimit) -> None:
        self._limit = limit
        self.set(PauseReason.DEPTH, holds=limit.is_reached)

    async def _ask(self) -> None:
        if self.is_open:
            self._figures.lag = await self._source.lag()

    def _cancel_timer(self) -> None:
        if self._until is not None:
            self._until.cancel()
            self._until = None
