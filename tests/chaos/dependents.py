"""Handlers that need the dependency: each notices in a way of its own that it is away."""

import os
from collections.abc import Iterator
from pathlib import Path

from handlers.orders import OrderCreated
from nsqkit import Breaker, Context, Exponential, Handler, KillSwitch, Pause, RetryPolicy, Settings, resource
from tests.chaos import orders as kinds
from tests.chaos.dependency import AwayError, Dependency
from tests.chaos.handlers import TIMEOUT_S, WorkerLedger, worker_ledger

__all__ = ["worker_ledger"]

MAX_ATTEMPTS = 3
_REST_S = 0.5
_SWITCH_REST_S = 0.05
_BACKOFF = Exponential(base_s=2.0, factor=2, max_s=4.0)
"""Longer than it takes until every worker has noticed the outage."""

_breaker = Breaker("dependency", failures=3, open_s=_REST_S, on=(AwayError,))


@resource
def dependency(settings: Settings) -> Iterator[Dependency]:
    """Open the dependency that the setting ``app.dependency`` names."""
    yield Dependency(Path(settings.app_text("dependency", os.devnull)))


class Dependent(
    Handler[OrderCreated],
    channel=kinds.CHANNEL,
    timeout_s=TIMEOUT_S,
    max_in_flight=kinds.MAX_IN_FLIGHT[kinds.GUARDED],
    retry=RetryPolicy(max_attempts=MAX_ATTEMPTS, backoff=_BACKOFF),
    abstract=True,
):
    """Calls the dependency.

    Args:
        ledger: Of the process.
        needed: The dependency.
    """

    def __init__(self, ledger: WorkerLedger, needed: Dependency) -> None:
        self._ledger = ledger
        self._needed = needed

    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        """Call it."""
        with self._ledger.entry(event, ctx):
            await self._call()

    async def _call(self) -> None:
        await self._needed.call()


class Guarded(Dependent, topic=kinds.BREAKERS):
    """Calls it behind a breaker."""

    async def _call(self) -> None:
        async with _breaker:
            await self._needed.call()


class Pausing(
    Dependent,
    topic=kinds.PAUSES,
    retry=RetryPolicy(max_attempts=MAX_ATTEMPTS, backoff=_BACKOFF, on={AwayError: Pause(_REST_S)}),
):
    """Pauses while it is away."""


class Switched(
    Dependent,
    topic=kinds.SWITCHES,
    kill_switch=KillSwitch(
        min_messages=3, window_s=1.0, open_s=_SWITCH_REST_S, max_open_s=_SWITCH_REST_S, include=(AwayError,)
    ),
):
    """Has a kill switch."""
