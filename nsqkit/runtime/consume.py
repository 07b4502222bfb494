"""Consume: take a handler's messages in, no more at a time than it may, and see each to its outcome."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from nsqkit.codec import Decoder
from nsqkit.context import Context, Prepare
from nsqkit.handler import HandlerSpec
from nsqkit.policy.redaction import describe
from nsqkit.policy.verdict import (
    SHUTDOWN,
    Ending,
    RequeueReason,
    Rules,
    Verdict,
    on_arrival,
    on_error,
    on_outcome,
)
from nsqkit.runtime.decode import Unread, decode
from nsqkit.runtime.delivery import Delivery
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.message import Message
from nsqkit.runtime.settle import LEASE_MARGIN_S, Settler

SETTLING_RETRY_S = 30.0
"""Delay of a message whose settling failed in a way that nobody foresaw."""


class Meter(Protocol):
    """What is counted on the way in."""

    def received(self) -> None: ...  # noqa: D102
    def in_flight(self, n_delta: int) -> None: ...  # noqa: D102
    def duration(self, seconds: float) -> None: ...  # noqa: D102
    def age(self, seconds: float) -> None: ...  # noqa: D102


class Intake:
    """One handler's intake: what it holds, what waits, whether it rests or stops.

    A delivery starts when it arrives, if fewer than *slots* are running; nsqd can deliver more than
    that when a message timeout frees RDY, and those wait.

    Args:
        spec: The handler.
        rules: What its declaration says about endings.
        slots: Deliveries that may run at the same time; 1 or more.
        decoder: Reads bodies.
        dispatcher: Calls the handler.
        settler: Carries out verdicts.
        meter: Counts.
        log: A structlog logger.
        prepare: Encodes what a handler publishes.
        draw: A uniform number in [0, 1).
        now_s: The loop's monotonic clock.
        now_ns: The wall clock.
    """

    def __init__(
        self,
        spec: HandlerSpec,
        rules: Rules,
        *,
        slots: int,
        decoder: Decoder,
        dispatcher: Dispatcher,
        settler: Settler,
        meter: Meter,
        log: Any,
        prepare: Prepare,
        draw: Callable[[], float] = random.random,
        now_s: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.spec = spec
        self._rules = rules
        self._slots = slots
        self._decoder = decoder
        self._dispatcher = dispatcher
        self._settler = settler
        self._meter = meter
        self._log = log
        self._prepare = prepare
        self._draw = draw
        self._now_s = now_s
        self._now_ns = now_ns
        self._running: set[Delivery] = set()
        self._waiting: deque[Delivery] = deque()
        self._stopping = False
        self._giving_back = False
        self._resumes_s = 0.0
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def held(self) -> int:
        """Messages that are held here and not settled yet."""
        return len(self._running) + len(self._waiting)

    def receive(self, message: Message) -> None:
        """Take one message from nsqd: start it, let it wait, or give it back."""
        self._meter.received()
        self._meter.in_flight(1)
        self._empty.clear()
        delivery = Delivery(message)
        if self._giving_back:
            self._give_back(delivery, SHUTDOWN)
        elif self._stopping:
            self._waiting.append(delivery)
        elif self._resumes_s > (now_s := self._now_s()):
            self._give_back(delivery, self._paused(self._resumes_s - now_s))
        elif len(self._running) < self._slots:
            self._start(delivery)
        else:
            self._waiting.append(delivery)

    def rest(self, until_s: float) -> None:
        """Give back what waits or arrives until a time on the monotonic clock; what runs goes on."""
        self._resumes_s = max(self._resumes_s, until_s)
        self._give_back_waiting(self._paused(max(0.0, until_s - self._now_s())))

    def stop(self) -> None:
        """Start nothing more; what arrives waits, until nsqd has been told and it can be given back."""
        self._stopping = True

    def give_back(self) -> None:
        """Give back what waits, and from now on what still arrives."""
        self._giving_back = True
        self._give_back_waiting(SHUTDOWN)

    def cancel(self) -> None:
        """Cancel the handlers and middleware that still run; threads only see ``ctx.cancelled``."""
        for delivery in tuple(self._running):
            ctx, task = delivery.ctx, delivery.task
            if ctx is not None:
                ctx.cancelled = True
                if delivery.in_handler and task is not None and not self._dispatcher.in_thread(ctx):
                    task.cancel()

    async def wait_empty(self) -> None:
        """Wait until every message that was received is settled."""
        await self._empty.wait()

    def _start(self, delivery: Delivery) -> None:
        self._running.add(delivery)
        delivery.task = asyncio.create_task(self._run(delivery), name=f"{self.spec.name}.handle")

    async def _run(self, delivery: Delivery) -> None:
        try:
            await self._process(delivery)
        except Exception as error:  # noqa: BLE001 - nothing may leave a delivery without an outcome
            self._log.exception("settling_failed", **self._settler.fields(delivery))
            self._settler.close(
                delivery, Verdict(Ending.REQUEUE, RequeueReason.ERROR, SETTLING_RETRY_S, describe(error))
            )
        finally:
            self._running.discard(delivery)
            if self._waiting and len(self._running) < self._slots and not self._stopping:
                self._start(self._waiting.popleft())
            self._check_empty()

    async def _process(self, delivery: Delivery) -> None:
        message = delivery.message
        age_s = (self._now_ns() - message.timestamp_ns) / 1e9
        self._meter.age(max(0.0, age_s))
        verdict = on_arrival(self._rules, attempts=message.attempts, age_s=age_s)
        if verdict is not None:
            await self._settler.settle(delivery, verdict)
            return
        read = decode(message, self._decoder, self._rules)
        if isinstance(read, Unread):
            delivery.event_type, delivery.event_id = read.error.event_type, read.error.event_id
            await self._settler.settle(delivery, read.verdict, error=read.error)
            return
        delivery.decoded = read
        delivery.event_type, delivery.event_id = read.wire_type, read.event_id
        delivery.ctx = ctx = self._context(delivery)
        verdict, error = await self._call(delivery, ctx)
        outgoing = [] if error else ctx.outgoing
        await self._settler.settle(delivery, verdict, error=error, outgoing=outgoing)

    async def _call(self, delivery: Delivery, ctx: Context) -> tuple[Verdict, Exception | None]:
        """Return what the handler's return or failure means; times it."""
        decoded = delivery.decoded
        started_s = self._now_s()
        delivery.in_handler = True
        try:
            outcome = await self._dispatcher.call(decoded.event if decoded else None, ctx)
        except asyncio.CancelledError:
            if self._stopping:
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
            self._meter.duration(self._now_s() - started_s)
        attempts = delivery.message.attempts
        return on_outcome(self._rules, outcome, attempts=attempts, draw=self._draw()), None

    def _failed(self, delivery: Delivery, error: Exception) -> tuple[Verdict, Exception]:
        attempts = delivery.message.attempts
        return on_error(self._rules, error, describe(error), attempts=attempts, draw=self._draw()), error

    def _context(self, delivery: Delivery) -> Context:
        message = delivery.message
        lease_ends_s = message.received_s + message.lease_s - LEASE_MARGIN_S
        limit_s = float("inf") if self.spec.run_on_loop else self._now_s() + self.spec.timeout_s
        return Context(
            topic=self.spec.topic,
            channel=self.spec.channel,
            attempts=message.attempts,
            message_id=delivery.message_id,
            timestamp_ns=message.timestamp_ns,
            event_id=delivery.event_id,
            deadline_s=min(limit_s, lease_ends_s),
            now_s=self._now_s,
            prepare=self._prepare,
            bind_log=lambda: self._log.bind(**self._settler.fields(delivery)),
        )

    def _give_back_waiting(self, verdict: Verdict) -> None:
        while self._waiting:
            self._give_back(self._waiting.popleft(), verdict)

    def _give_back(self, delivery: Delivery, verdict: Verdict) -> None:
        self._settler.close(delivery, verdict)
        self._check_empty()

    def _check_empty(self) -> None:
        if not self.held:
            self._empty.set()

    def _paused(self, for_s: float) -> Verdict:
        return Verdict(Ending.REQUEUE, RequeueReason.PAUSED, min(for_s, self._rules.max_delay_s))
