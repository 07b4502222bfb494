"""Consume: take a handler's messages in, no more at a time than it may, and see each to its outcome."""

import asyncio
import contextvars
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

from nsqkit.events.codec import Decoder
from nsqkit.handler.context import Prepare
from nsqkit.handler.handler import HandlerSpec
from nsqkit.policy.quarantine import is_suspect, turn
from nsqkit.policy.rate import TokenBucket
from nsqkit.policy.verdict import (
    LEASE_LOST,
    SHUTDOWN,
    RequeueReason,
    Rules,
    Verdict,
    on_duplicate,
    on_not_started,
)
from nsqkit.runtime import course
from nsqkit.runtime.batch import BatchDispatcher
from nsqkit.runtime.course import Course
from nsqkit.runtime.delivery import Delivery, Desk
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.gate import Gate
from nsqkit.runtime.guard import Guard
from nsqkit.runtime.lease import LeaseKeeper
from nsqkit.runtime.message import Message
from nsqkit.runtime.quarantine import Quarantine
from nsqkit.runtime.settle import Settler


class Meter(course.Meter, Protocol):
    """What is counted on the way in, and of each delivery."""

    def received(self) -> None: ...  # noqa: D102


class Intake:
    """One handler's intake: what it holds, what of that runs, and what waits.

    A delivery starts when it arrives, if the gate lets it. What has to wait is kept under TOUCH and starts in
    the order of its arrival; suspects (``policy.quarantine``) wait for their turn in the worker.

    Args:
        spec: The handler.
        rules: What its declaration says about endings.
        gate: Says how many may run.
        guard: Told how the handler's calls end.
        quarantine: The worker's.
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
        gate: Gate,
        guard: Guard,
        quarantine: Quarantine,
        decoder: Decoder,
        dispatcher: Dispatcher | BatchDispatcher,
        settler: Settler,
        meter: Meter,
        log: Any,
        prepare: Prepare,
        draw: Callable[[], float] = random.random,
        now_s: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.spec = spec
        self._max_attempts = rules.retry.max_attempts
        self._rules = rules
        self._gate = gate
        self._quarantine = quarantine
        self._dispatcher = dispatcher
        self._settler = settler
        self._meter = meter
        self._now_s = now_s
        self._bucket = TokenBucket(spec.rate_limit) if spec.rate_limit else None
        self._token_timer: asyncio.TimerHandle | None = None
        # Those that wait to follow another are not in here, they hang on that one.
        self._held: dict[tuple[str, str, bytes], Delivery] = {}
        self._n_held = 0
        self._waiting: deque[Delivery] = deque()
        self._suspects: list[Delivery] = []
        self._alone: Delivery | None = None
        self._n_running = 0
        self._is_waking = False
        self._context = contextvars.copy_context()
        self._giving_back = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._keeper = LeaseKeeper(self._deliveries, overdue=self._overdue, now_s=now_s)
        self._desk = Desk(
            topic=spec.topic,
            channel=spec.channel,
            now_s=now_s,
            prepare=prepare,
            bind_log=lambda delivery: log.bind(**settler.fields(delivery)),
            watch=self._keeper.watch,
        )
        self._course = Course(
            spec,
            rules,
            gate=gate,
            guard=guard,
            decoder=decoder,
            dispatcher=dispatcher,
            settler=settler,
            watch=self._keeper.watch,
            meter=meter,
            log=log,
            draw=draw,
            now_s=now_s,
            now_ns=now_ns,
        )
        gate.on_change(self._gate_moved)
        quarantine.join(self)

    @property
    def held(self) -> int:
        """Messages that are held here and not settled yet."""
        return self._n_held

    @property
    def active(self) -> int:
        """How many of them run, or wait for something else than that the gate opens."""
        return self._n_held if self._n_running or self._gate.limit else 0

    @property
    def is_rate_limited(self) -> bool:
        """Whether what waits, waits for the rate limit."""
        return self._token_timer is not None

    @property
    def is_settling(self) -> bool:
        """Whether the end of some delivery is under way, with nothing left to cancel."""
        return any(each.task is not None and not each.in_handler for each in self._held.values())

    def receive(self, message: Message) -> None:
        """Take one message from nsqd: start it, let it wait, or give it back."""
        self._meter.received()
        if not self._n_held:
            self._empty.clear()
        self._n_held += 1
        delivery = Delivery(message, self._desk)
        earlier = self._held.setdefault(delivery.key, delivery)
        if earlier is delivery:
            self._admit(delivery)
        else:
            self._redelivered(earlier, delivery)
        self._keeper.watch(delivery)

    def stop(self) -> None:
        """Start nothing more; what arrives waits, until nsqd has been told and it can be given back."""
        self._course.is_stopping = True
        self._gate.close()

    def give_back(self) -> None:
        """Give back what waits, and from now on what still arrives."""
        self._giving_back = True
        self._dispatcher.give_back()
        for delivery in (*self._waiting, *self._suspects):
            self._close(delivery, SHUTDOWN)

    def cancel(self) -> None:
        """Cancel the handlers and middleware that still run; threads only see ``ctx.cancelled``."""
        for delivery in tuple(self._held.values()):
            ctx, task = delivery.ctx, delivery.task
            if ctx is not None:
                ctx.cancelled = True
                if delivery.in_handler and task is not None and not self._dispatcher.in_thread(ctx):
                    task.cancel()

    async def wait_empty(self) -> None:
        """Wait until every message that was received is settled."""
        await self._empty.wait()

    def close(self) -> None:
        """Stop the timers. Final."""
        self._keeper.close()
        if self._token_timer is not None:
            self._token_timer.cancel()

    # What waits, and what starts.

    def _admit(self, delivery: Delivery) -> None:
        if self._giving_back:
            self._close(delivery, SHUTDOWN)
        else:
            self._waiting.append(delivery)
            self.wake()

    def wake(self) -> None:
        """Start what waits and may start, in the next turn of the loop."""
        if self._waiting and not self._is_waking and self._n_running < self._gate.limit:
            self._is_waking = True
            context = self._context.copy()
            name = f"{self.spec.name}.handle"
            asyncio.create_task(self._carry(context), name=name, context=context)  # noqa: RUF006 - its delivery does

    async def _carry(self, context: contextvars.Context) -> None:
        """Carry one delivery after the other; who cannot go on at once is followed by another carrier.

        A handler that never waits costs no task of its own. One that leaves a context variable set, or its
        task to be cancelled, does not pass that on: the next delivery gets a carrier of its own.
        """
        self._is_waking = False
        task = cast("asyncio.Task[None]", asyncio.current_task())
        goes_on = True
        while goes_on and (delivery := self._next()) is not None:
            delivery.task = task
            self.wake()
            goes_on = False
            try:
                await self._course.run(delivery)
                goes_on = not task.cancelling() and self._is_unchanged(context)
            finally:
                self._ran(delivery)
                if not goes_on:
                    self.wake()

    def _is_unchanged(self, context: contextvars.Context) -> bool:
        try:
            return context == self._context
        except Exception:  # noqa: BLE001 - not all values can be compared
            return False

    def _next(self) -> Delivery | None:
        """Return what starts now; None if nothing waits, or nothing may start."""
        while self._waiting and self._n_running < self._gate.limit and not self._quarantine.is_someone_alone:
            if is_suspect(self._waiting[0].message.attempts, self._max_attempts):
                self._suspects.append(self._waiting.popleft())
                self._quarantine.go_on()
                continue
            if self._bucket is not None and (wait_s := self._bucket.take(self._now_s())) > 0.0:
                self._wake_in(wait_s)
                return None
            self._n_running += 1
            return self._waiting.popleft()
        return None

    def _wake_in(self, wait_s: float) -> None:
        if self._token_timer is None:
            self._token_timer = asyncio.get_running_loop().call_later(wait_s, self._has_token)

    def _has_token(self) -> None:
        self._token_timer = None
        self.wake()

    def _gate_moved(self) -> None:
        self.wake()
        if self._suspects or self._quarantine.is_on:
            self._quarantine.go_on()

    # What the quarantine asks, see ``quarantine.Ward``.

    @property
    def is_busy(self) -> bool:
        """Whether something runs and is not lost, or may start, that is no suspect."""
        if self._waiting and self._gate.limit:
            return True
        now_s = self._now_s()
        return self._n_running > 0 and any(
            each.task is not None and not each.is_lost(now_s) for each in self._held.values()
        )

    def suspect_turn(self) -> tuple[int, int] | None:
        """Return the key of its next suspect; None where none may run."""
        return min(map(_turn, self._suspects), default=None) if self._gate.limit else None

    def isolate(self, *, is_on: bool) -> None:
        """Take nothing more in; False ends that."""
        self._gate.quarantine(is_on=is_on)

    def run_suspect(self) -> None:
        """Start its next suspect in the next turn of the loop: the answers to what ended are sent by then."""
        self._alone = delivery = min(self._suspects, key=_turn)
        self._suspects.remove(delivery)
        self._n_running += 1
        delivery.task = asyncio.create_task(self._run_alone(delivery), context=self._context.copy())

    async def _run_alone(self, delivery: Delivery) -> None:
        if self._gate.limit:
            try:
                await self._course.run(delivery)
            finally:
                self._ran(delivery)
        else:  # it was shut at this very moment
            delivery.task = None
            self._n_running -= 1
            self._admit(delivery)
            self._quarantine.go_on(has_left=self._was_alone(delivery))

    def _was_alone(self, delivery: Delivery) -> bool:
        """Return whether others need not wait for it any longer, which is so once."""
        if delivery is not self._alone:
            return False
        self._alone = None
        return True

    # Endings.

    def _ran(self, delivery: Delivery) -> None:
        self._n_running -= 1
        self._release(delivery)
        if self._quarantine.is_on:
            self._quarantine.go_on(has_left=self._was_alone(delivery))

    def _close(self, delivery: Delivery, verdict: Verdict) -> None:
        """End a delivery that has not been started."""
        if delivery in self._waiting:
            self._waiting.remove(delivery)
        elif delivery in self._suspects:
            self._suspects.remove(delivery)
        self._settler.close(delivery, verdict)
        self._release(delivery)
        self._gate.again()
        if self._quarantine.is_on:
            self._quarantine.go_on()

    def _release(self, delivery: Delivery) -> None:
        """Hold a delivery no more, and see to the one that waits to follow it."""
        again, delivery.again = delivery.again, None
        delivery.ctx = None  # which refers to it: a circle would leave every message to the garbage collector
        key = delivery.key
        if self._held.get(key) is delivery:
            del self._held[key]
        if again is not None:
            self._held[key] = again
            if delivery.is_done:
                self._close(again, on_duplicate())
            else:
                self._admit(again)
        self._n_held -= 1
        if not self._n_held:
            self._empty.set()

    def _redelivered(self, earlier: Delivery, delivery: Delivery) -> None:
        """Take in a message again that is held still: nsqd's time for it is over."""
        earlier.is_redelivered = True
        if earlier.again is not None:
            self._close(earlier.again, LEASE_LOST)
        if earlier.task is not None:
            earlier.again = delivery
            return
        earlier.again = None
        self._held[delivery.key] = delivery
        self._admit(delivery)
        self._close(earlier, LEASE_LOST)

    def _deliveries(self) -> Iterator[Delivery]:
        for delivery in self._held.values():
            yield delivery
            if delivery.again is not None:
                yield delivery.again

    def _overdue(self, delivery: Delivery) -> None:
        """Give back what was not started in time; of what runs, settling finds out that it is lost."""
        if delivery.task is not None:
            if self._quarantine.is_on:
                self._quarantine.go_on(has_left=self._was_alone(delivery))
            return
        reason, for_s = self._gate.reason, self._gate.until_s - self._now_s()
        if reason is None:
            reason, for_s = RequeueReason.RATE_LIMITED if self._bucket else RequeueReason.PAUSED, 0.0
        earlier = self._held.get(delivery.key)
        if earlier is not None and earlier.again is delivery:
            earlier.again = None
        self._close(delivery, on_not_started(self._rules, reason, for_s=for_s))


def _turn(delivery: Delivery) -> tuple[int, int]:
    return turn(delivery.message.attempts, delivery.message.id)
