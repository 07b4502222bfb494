"""Opened target: a target behind a breaker, since its broker may be away at any time, also at the start."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from nsqkit.bridge.ports import RecordTarget
from nsqkit.bridge.record import Record
from nsqkit.bridge.route import Route
from nsqkit.errors import BridgeError, OutageError, TargetAwayError
from nsqkit.handler.breaker import Breaker
from nsqkit.policy.redaction import redact

OPEN_S: Final = 1.0
"""Seconds until a write is tried again after the broker was away; pauses grow from it."""
_SEND_SHARE: Final = 0.8
"""Share of a handler's timeout that a write may take: one without an answer is an outage, not a timeout."""


class OpenedTarget:
    """The target of one route; it connects when it is opened or, if the broker is away then, at a write.

    Args:
        route: The route.
        target: Its target.
        log: A structlog logger.
    """

    def __init__(self, route: Route, target: RecordTarget, log: Any) -> None:
        self._route = route
        self._target = target
        self._log = log.bind(route=route.name, target=route.target.label)
        self._breaker = Breaker(
            f"{route.target.label} of {route.name}", failures=1, open_s=OPEN_S, on=(OutageError, BridgeError)
        )
        self._opening = asyncio.Lock()
        self._is_open = False
        self._problem = "not connected yet"

    async def open(self) -> None:
        """Connect; a broker that is away is connected at the first write that reaches it.

        Raises:
            BridgeError: If what it writes to does not exist, or the broker refuses the credentials.
        """
        try:
            await self._open()
        except BridgeError as error:
            raise BridgeError(f"{self._route.where}: {error}") from error
        except OutageError as error:
            self._note(str(error))

    async def send(self, record: Record) -> None:
        """Write a record, and return when the broker has confirmed it.

        Raises:
            RecordRefusedError: If the broker refuses this record.
            TargetAwayError: If the broker is away, or only a person can help; the record uses up no attempt.
            BreakerOpenError: If that was so a moment ago.
        """
        try:
            async with self._breaker:
                await self._send(record)
        except (OutageError, BridgeError) as error:
            self._note(str(error), is_blocked=isinstance(error, BridgeError))
            rest_s = self._breaker.open_for_s or OPEN_S
            raise TargetAwayError(self._breaker.name, rest_s, redact(str(error))) from error
        self._note("")

    async def close(self) -> None:
        """Wait for what is under way, and disconnect."""
        await self._target.close()

    def figures(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """Yield the metrics of the route."""
        is_away = bool(self._problem or self._target.problems)
        yield "nsqkit_route_disconnected", (self._route.name,), int(is_away)

    async def _send(self, record: Record) -> None:
        limit_s = self._route.timeout_s * _SEND_SHARE
        try:
            async with asyncio.timeout(limit_s):
                await self._open()
                await self._target.send(record)
        except TimeoutError:
            raise OutageError(f"{self._route.target.label} has not confirmed within {limit_s:g} s") from None

    async def _open(self) -> None:
        if self._is_open:
            return
        async with self._opening:
            if not self._is_open:
                await self._target.open()
                self._is_open = True
                self._problem = ""
                self._log.info("route_opened")

    def _note(self, problem: str, *, is_blocked: bool = False) -> None:
        """Keep why the broker is away, and log it once; empty if it is back."""
        if problem == self._problem:
            return
        before, self._problem = self._problem, problem
        if not problem:
            self._log.info("route_continues", reason=redact(before))
        elif is_blocked:
            self._log.error("route_blocked", reason=redact(problem))
        else:
            self._log.warning("route_waits", reason=redact(problem))
