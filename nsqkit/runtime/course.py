"""Course: one started delivery, from its body to its outcome."""

import asyncio
import math
import random
import time
from collections.abc import Callable
from typing import Any, Protocol

from nsqkit.events.codec import Decoder
from nsqkit.handler.context import Context
from nsqkit.handler.handler import HandlerSpec
from nsqkit.policy.outcome import Finish
from nsqkit.policy.redaction import describe
from nsqkit.policy.verdict import (
    SHUTDOWN,
    SUCCESS,
    Ending,
    RequeueReason,
    Rules,
    Verdict,
    on_arrival,
    on_error,
    on_outcome,
)
from nsqkit.runtime.batch import BatchDispatcher
from nsqkit.runtime.decode import Unread, decode
from nsqkit.runtime.delivery import Delivery
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.gate import Gate
from nsqkit.runtime.guard import Guard
from nsqkit.runtime.settle import Settler

SETTLING_RETRY_S = 30.0
"""Delay of a message whose settling failed in a way that nobody foresaw."""


class Meter(Protocol):
    """What is counted of a delivery on its course."""

    def duration(self, seconds: float) -> None: ...  # noqa: D102
    def age(self, seconds: float) -> None: ...  # noqa: D102


class Course:
    """Decodes a delivery, calls its handler, and has the outcome settled.

    Args:
        spec: The handler.
        rules: What its declaration says about endings.
        gate: Told of trials that met no handler.
        guard: Told how the handler's calls end.
        decoder: Reads bodies.
        dispatcher: Calls the handler.
        settler: Carries out verdicts.
        watch: Has a delivery's lease looked at.
        meter: Counts.
        log: A structlog logger.
        draw: A uniform number in [0, 1).
        now_s: The loop's monotonic clock.
        now_ns: The wall clock.

    Attributes:
        is_stopping: Whether the worker stops, so that a handler that is cancelled has not failed.
    """

    def __init__(
        self,
        spec: HandlerSpec,
        rules: Rules,
        *,
        gate: Gate,
        guard: Guard,
        decoder: Decoder,
        dispatcher: Dispatcher | BatchDispatcher,
        settler: Settler,
        watch: Callable[[Delivery], None],
        meter: Meter,
        log: Any,
        draw: Callable[[], float] = random.random,
        now_s: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.is_stopping = False
        self._limit_s = math.inf if spec.run_on_loop else spec.holds_s
        self._rules = rules
        self._gate = gate
        self._guard = guard
        self._decoder = decoder
        self._dispatcher = dispatcher
        self._settler = settler
        self._watch = watch
        self._meter = meter
        self._log = log
        self._draw = draw
        self._now_s = now_s
        self._now_ns = now_ns

    async def run(self, delivery: Delivery) -> None:
        """See a delivery to its outcome, whatever happens on the way."""
        try:
            if (unfit := self._read(delivery)) is None:
                await self._handle(delivery)
            else:
                await self._settler.settle(delivery, unfit, error=delivery.unread)
                self._gate.again()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - no delivery is left without an outcome
            self._log.exception("settling_failed", **self._settler.fields(delivery))
            self._settler.close(
                delivery, Verdict(Ending.REQUEUE, RequeueReason.ERROR, SETTLING_RETRY_S, describe(error))
            )

    def _read(self, delivery: Delivery) -> Verdict | None:
        """Give a delivery its event, or return what becomes of it without."""
        message = delivery.message
        age_s = (self._now_ns() - message.timestamp_ns) / 1e9
        self._meter.age(age_s)
        verdict = on_arrival(self._rules, attempts=message.attempts, age_s=age_s)
        if verdict is None:
            read = decode(message, self._decoder, self._rules)
            if isinstance(read, Unread):
                delivery.unread = read.error
                return read.verdict
            delivery.decoded = read
        return verdict

    async def _handle(self, delivery: Delivery) -> None:
        delivery.ctx = ctx = Context.of(delivery)
        verdict, error = await self._call(delivery, ctx)
        if ctx.outgoing or verdict.ending is Ending.DEAD_LETTER:
            self._watch(delivery)  # publishing takes time
            await self._settler.settle(delivery, verdict, error=error, outgoing=() if error else ctx.outgoing)
        else:
            self._settler.close(delivery, verdict, error)
        if self._guard.is_watching and verdict is not SHUTDOWN:
            self._guard.record(error)

    async def _call(self, delivery: Delivery, ctx: Context) -> tuple[Verdict, Exception | None]:
        """Return what the handler's return or failure means; times it."""
        decoded = delivery.decoded
        ctx.start(self._limit_s)
        delivery.in_handler = True
        try:
            outcome = await self._dispatcher.call(decoded.event if decoded else None, ctx)
        except asyncio.CancelledError:
            if self.is_stopping or ctx.lease_lost:
                return SHUTDOWN, None
            return self._failed(delivery, RuntimeError("the handler was cancelled from within"))
        except Exception as error:  # noqa: BLE001 - whatever a handler raises has a verdict
            return self._failed(delivery, error)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - such as sys.exit: it ends its message, not the worker
            ended = RuntimeError(f"the handler raised {describe(error)}")
            return self._failed(delivery, ended.with_traceback(error.__traceback__))
        finally:
            delivery.in_handler = False
            if ctx.started_s is not None:
                self._meter.duration(self._now_s() - ctx.started_s)
        if type(outcome) is Finish:
            return SUCCESS, None
        attempts = delivery.message.attempts
        return on_outcome(self._rules, outcome, attempts=attempts, draw=self._draw()), None

    def _failed(self, delivery: Delivery, error: Exception) -> tuple[Verdict, Exception]:
        attempts = delivery.message.attempts
        return on_error(self._rules, error, describe(error), attempts=attempts, draw=self._draw()), error
