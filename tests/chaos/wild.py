"""Handlers of the soak: what they do harms others, or its topic comes and goes."""

import time

from handlers.orders import OrderCreated
from nsqkit import Breaker, Context, Exponential, Handler, Pause, RetryPolicy
from tests.chaos import orders as kinds
from tests.chaos.dependency import AwayError
from tests.chaos.dependents import Dependent, dependency
from tests.chaos.handlers import TIMEOUT_S, WorkerLedger, worker_ledger

__all__ = ["dependency", "worker_ledger"]

BLOCK_S = 2.0
_OVERSIZED_BYTES = 2_000_000
_REST_S = 0.5
_FATAL = (SystemExit, KeyboardInterrupt, GeneratorExit, BaseException)
_BACKOFF = Exponential(base_s=0.05, factor=2, max_s=0.5)
_PATIENT = RetryPolicy(max_attempts=200, backoff=_BACKOFF, on={AwayError: Pause(_REST_S)})
"""An order may be delivered again for any fault of the soak; so it may be often."""

_breaker = Breaker("soak", failures=3, open_s=_REST_S, on=(AwayError,))


class Wild(
    Handler[OrderCreated],
    topic=kinds.WILD,
    channel=kinds.CHANNEL,
    timeout_s=TIMEOUT_S * 2,
    retry=RetryPolicy(max_attempts=len(_FATAL) + 4, backoff=_BACKOFF),
):
    """Blocks the loop, raises what would end a program, or publishes too much."""

    def __init__(self, ledger: WorkerLedger) -> None:
        self._ledger = ledger

    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        """Do as the order's kind says."""
        if kinds.kind_of(event.order_id) == kinds.OVERSIZED:
            ctx.publish_raw("oversized", bytes(_OVERSIZED_BYTES))
            return
        with self._ledger.entry(event, ctx):
            match kinds.kind_of(event.order_id):
                case kinds.BLOCKING if ctx.attempts == 1:
                    time.sleep(BLOCK_S)  # noqa: ASYNC251 - the fault
                case kinds.FATAL if ctx.attempts <= len(_FATAL):
                    raise _FATAL[ctx.attempts - 1](event.order_id)


class Fleeting(Handler[OrderCreated], topic=kinds.FLEETING, channel=kinds.CHANNEL, timeout_s=TIMEOUT_S):
    """Handles orders of a topic that is deleted now and then."""

    def __init__(self, ledger: WorkerLedger) -> None:
        self._ledger = ledger

    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        """Succeed."""
        with self._ledger.entry(event, ctx):
            pass


class PatientGuarded(Dependent, topic=kinds.BREAKERS, retry=_PATIENT):
    """Calls the dependency behind a breaker."""

    async def _call(self) -> None:
        async with _breaker:
            await self._needed.call()


class PatientPausing(Dependent, topic=kinds.PAUSES, retry=_PATIENT):
    """Pauses while the dependency is away."""
