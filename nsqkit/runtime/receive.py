"""Receive: take a handler's messages in, no more at a time than it may, and start them."""

import asyncio
import contextvars
from collections import deque
from typing import cast

from nsqkit.policy.quarantine import is_suspect
from nsqkit.policy.rate import TokenBucket
from nsqkit.policy.verdict import LEASE_LOST, SHUTDOWN, RequeueReason, Verdict, on_duplicate, on_not_started
from nsqkit.runtime.batch import BatchDispatcher
from nsqkit.runtime.delivery import Delivery, Shared
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.gate import Gate
from nsqkit.runtime.held import Held
from nsqkit.runtime.lease import LeaseKeeper
from nsqkit.runtime.ports import Message
from nsqkit.runtime.process import Processor
from nsqkit.runtime.quarantine import Quarantine, Suspects
from nsqkit.runtime.settle import Settler


class Intake:
    """One handler's intake: the deliveries it holds, which of them run, and which wait.

    A delivery starts when it arrives, if the gate lets it. One that has to wait is kept with TOUCH, and
    starts in the order of its arrival; suspects (``policy.quarantine``) wait for their turn in the worker.

    Args:
        shared: What the handler's deliveries share.
        gate: Says how many may run.
        quarantine: The worker's.
        dispatcher: Calls the handler.
        settler: Carries out verdicts.
        processor: Takes a started delivery to its outcome.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        gate: Gate,
        quarantine: Quarantine,
        dispatcher: Dispatcher | BatchDispatcher,
        settler: Settler,
        processor: Processor,
    ) -> None:
        self._shared = shared
        self._rules = shared.rules
        self._max_attempts = shared.rules.retry.max_attempts
        self._meter = shared.meter
        self._now_s = shared.clock.now_s
        self._gate = gate
        self._quarantine = quarantine
        self._dispatcher = dispatcher
        self._settler = settler
        self._processor = processor
        self._bucket = TokenBucket(limit) if (limit := shared.spec.rate_limit) else None
        self._token_timer: asyncio.TimerHandle | None = None
        self._held = Held()
        self._keeper = LeaseKeeper(self._held, overdue=self._overdue, now_s=self._now_s)
        self._waiting: deque[Delivery] = deque()
        self._suspects = Suspects()
        self._n_running = 0
        self._is_waking = False
        self._context = contextvars.copy_context()
        self._giving_back = False
        gate.on_change(self._gate_moved)
        quarantine.join(self)

    @property
    def held(self) -> int:
        """Messages in flight: received, and not settled yet."""
        return self._held.count

    @property
    def active(self) -> int:
        """How many of them run, or wait for anything but the gate to open."""
        return self._held.count if self._n_running or self._gate.limit else 0

    @property
    def is_rate_limited(self) -> bool:
        """Whether messages wait for the rate limit."""
        return self._token_timer is not None

    @property
    def is_settling(self) -> bool:
        """Whether a delivery is being settled, with no handler left to cancel."""
        return any(each.task is not None and not each.in_handler for each in self._held)

    def receive(self, message: Message) -> None:
        """Take one message from nsqd: start it, let it wait, or give it back."""
        self._meter.received()
        delivery = Delivery(message, self._shared, self._keeper.watch)
        earlier = self._held.add(delivery)
        if earlier is delivery:
            self._admit(delivery)
        else:
            self._redelivered(earlier, delivery)
        self._keeper.watch(delivery)

    def stop(self) -> None:
        """Start nothing more; arriving messages wait until nsqd has taken CLS and they can be given back."""
        self._processor.is_stopping = True
        self._gate.close()

    def give_back(self) -> None:
        """Give back all waiting messages, and from now on those that still arrive."""
        self._giving_back = True
        self._dispatcher.give_back()
        for delivery in (*self._waiting, *self._suspects.waiting):
            self._close(delivery, SHUTDOWN)

    def cancel(self) -> None:
        """Cancel the handlers and middleware that still run; threads only see ``ctx.cancelled``."""
        for delivery in tuple(self._held):
            ctx, task = delivery.ctx, delivery.task
            if ctx is not None:
                ctx.cancelled = True
                if delivery.in_handler and task is not None and not self._dispatcher.in_thread(ctx):
                    task.cancel()

    async def wait_empty(self) -> None:
        """Wait until every message that was received is settled."""
        await self._held.wait_empty()

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
            if not self._is_waking:
                self.wake()

    def wake(self) -> None:
        """Start what waits and may start, in the next turn of the loop."""
        if self._waiting and not self._is_waking and self._n_running < self._gate.limit:
            self._is_waking = True
            context = self._context.copy()
            name = f"{self._shared.spec.name}.handle"
            asyncio.create_task(self._run_waiting(context), name=name, context=context)  # noqa: RUF006 - its delivery does

    async def _run_waiting(self, context: contextvars.Context) -> None:
        """Run one delivery after the other in this task, the runner, as long as none of them waits.

        A handler that never waits costs no task of its own. After one that waits, leaves a context variable
        set or its task cancelled, another runner goes on, so that nothing passes to the next delivery.
        """
        self._is_waking = False
        task = cast("asyncio.Task[None]", asyncio.current_task())
        goes_on = True
        while goes_on and (delivery := self._next()) is not None:
            delivery.task = task
            self.wake()
            goes_on = False
            try:
                await self._processor.run(delivery)
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
                self._suspects.waiting.append(self._waiting.popleft())
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
        if self._suspects.waiting or self._quarantine.is_on:
            self._quarantine.go_on()

    # What the quarantine asks, see ``quarantine.QuarantineMember``.

    @property
    def is_busy(self) -> bool:
        """Whether something runs and is not lost, or may start, that is no suspect."""
        if self._waiting and self._gate.limit:
            return True
        now_s = self._now_s()
        return self._n_running > 0 and any(
            each.task is not None and not each.is_lost(now_s) for each in self._held
        )

    def suspect_turn(self) -> tuple[int, int] | None:
        """Return the key of its next suspect; None where none may run."""
        return self._suspects.next_turn() if self._gate.limit else None

    def isolate(self, *, is_on: bool) -> None:
        """Take nothing more in; False ends that."""
        self._gate.quarantine(is_on=is_on)

    def run_suspect(self) -> None:
        """Start its next suspect in the next turn of the loop: the answers to what ended are sent by then."""
        delivery = self._suspects.start_next()
        self._n_running += 1
        delivery.task = asyncio.create_task(self._run_alone(delivery), context=self._context.copy())

    async def _run_alone(self, delivery: Delivery) -> None:
        if self._gate.limit:
            try:
                await self._processor.run(delivery)
            finally:
                self._ran(delivery)
        else:  # it was shut at this very moment
            delivery.task = None
            self._n_running -= 1
            self._admit(delivery)
            self._quarantine.go_on(has_left=self._suspects.has_left(delivery))

    # Outcomes.

    def _ran(self, delivery: Delivery) -> None:
        self._n_running -= 1
        if (redelivery := self._held.release(delivery)) is not None:
            self._follow(delivery, redelivery)
        if self._quarantine.is_on:
            self._quarantine.go_on(has_left=self._suspects.has_left(delivery))

    def _close(self, delivery: Delivery, verdict: Verdict) -> None:
        """End a delivery that has not been started."""
        if delivery in self._waiting:
            self._waiting.remove(delivery)
        elif delivery in self._suspects.waiting:
            self._suspects.waiting.remove(delivery)
        self._settler.settle_now(delivery, verdict)
        if (redelivery := self._held.release(delivery)) is not None:
            self._follow(delivery, redelivery)
        self._gate.repeat_trial()
        if self._quarantine.is_on:
            self._quarantine.go_on()

    def _follow(self, delivery: Delivery, redelivery: Delivery) -> None:
        """See to the redelivery that waited for a delivery which has its outcome now."""
        if delivery.is_done:
            self._close(redelivery, on_duplicate())
        else:
            self._admit(redelivery)

    def _redelivered(self, earlier: Delivery, delivery: Delivery) -> None:
        """Take in a message again whose earlier delivery is not settled: nsqd's time for that is over."""
        earlier.is_redelivered = True
        if earlier.redelivery is not None:
            self._close(earlier.redelivery, LEASE_LOST)
        if earlier.task is not None:
            earlier.redelivery = delivery
            return
        earlier.redelivery = None
        self._held.supersede(delivery)
        self._admit(delivery)
        self._close(earlier, LEASE_LOST)

    def _overdue(self, delivery: Delivery) -> None:
        """Give back what was not started in time; of what runs, settling finds out that it is lost."""
        if delivery.task is not None:
            if self._quarantine.is_on:
                self._quarantine.go_on(has_left=self._suspects.has_left(delivery))
            return
        reason, for_s = self._gate.reason, self._gate.until_s - self._now_s()
        if reason is None:
            reason, for_s = RequeueReason.RATE_LIMITED if self._bucket else RequeueReason.PAUSED, 0.0
        self._held.detach(delivery)
        self._close(delivery, on_not_started(self._rules, reason, for_s=for_s))
