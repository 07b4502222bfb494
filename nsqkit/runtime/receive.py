"""Receive: take in the messages of a handler, and start no more at a time than its gate allows."""

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
    """The intake of one handler: its deliveries in flight, running or waiting.

    A delivery starts when it arrives, if the gate allows it. Waiting deliveries are kept with TOUCH, and
    start in the order of their arrival. Suspects (``policy.quarantine``) wait for their turn in the worker.

    Args:
        shared: State shared by the handler's deliveries.
        gate: Limits how many deliveries run at a time.
        quarantine: Runs the suspects of all handlers of the worker.
        dispatcher: Calls the handler inside its middleware.
        settler: Carries out verdicts.
        processor: Processes a started delivery up to its outcome.
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
        gate.on_change(self._on_gate_change)
        quarantine.join(self)

    @property
    def held(self) -> int:
        """Number of messages in flight: received and not settled yet."""
        return self._held.count

    @property
    def active(self) -> int:
        """Number of messages in flight; 0 if all of them wait for the gate to open."""
        return self._held.count if self._n_running or self._gate.limit else 0

    @property
    def is_rate_limited(self) -> bool:
        """Whether messages wait for the rate limit."""
        return self._token_timer is not None

    @property
    def is_settling(self) -> bool:
        """Whether a delivery has started whose handler is not running: it is being decoded or settled."""
        return any(each.task is not None and not each.in_handler for each in self._held)

    def receive(self, message: Message) -> None:
        """Take in one message from nsqd: start it, let it wait, or requeue it."""
        self._meter.received()
        delivery = Delivery(message, self._shared, self._keeper.watch)
        earlier = self._held.add(delivery)
        if earlier is delivery:
            self._admit(delivery)
        else:
            self._receive_redelivery(earlier, delivery)
        self._keeper.watch(delivery)

    def stop(self) -> None:
        """Start no more deliveries. Arriving messages wait until :meth:`give_back`, which follows CLS."""
        self._processor.is_stopping = True
        self._gate.close()

    def give_back(self) -> None:
        """Requeue all waiting messages, and from now on those that still arrive."""
        self._giving_back = True
        self._dispatcher.give_back()
        for delivery in (*self._waiting, *self._suspects.waiting):
            self._settle_unstarted(delivery, SHUTDOWN)

    def cancel(self) -> None:
        """Cancel running handlers and middleware; a handler in a thread can only check ``ctx.cancelled``."""
        for delivery in tuple(self._held):
            ctx, task = delivery.ctx, delivery.task
            if ctx is not None:
                ctx.cancelled = True
                if delivery.in_handler and task is not None and not self._dispatcher.in_thread(ctx):
                    task.cancel()

    async def wait_empty(self) -> None:
        """Wait until every received message is settled."""
        await self._held.wait_empty()

    def close(self) -> None:
        """Stop the timers. Final."""
        self._keeper.close()
        if self._token_timer is not None:
            self._token_timer.cancel()

    # Waiting and starting.

    def _admit(self, delivery: Delivery) -> None:
        if self._giving_back:
            self._settle_unstarted(delivery, SHUTDOWN)
        else:
            self._waiting.append(delivery)
            if not self._is_waking:
                self.wake()

    def wake(self) -> None:
        """Start a runner in the next turn of the loop, if a waiting delivery may start."""
        if self._waiting and not self._is_waking and self._n_running < self._gate.limit:
            self._is_waking = True
            context = self._context.copy()
            name = f"{self._shared.spec.name}.handle"
            asyncio.create_task(self._run_waiting(context), name=name, context=context)  # noqa: RUF006 - in Delivery.task

    async def _run_waiting(self, context: contextvars.Context) -> None:
        """Run one delivery after another in this task, the runner; see :meth:`wake`.

        While a handler waits, a new runner takes the next delivery, so deliveries run concurrently. A handler
        that never waits needs no task for itself. If it leaves a context variable changed or the task
        cancelled, this runner ends and a new one continues, so that the next delivery is not affected.
        """
        self._is_waking = False
        task = cast("asyncio.Task[None]", asyncio.current_task())
        continues = True
        while continues and (delivery := self._next()) is not None:
            delivery.task = task
            self.wake()
            continues = False
            try:
                await self._processor.run(delivery)
                continues = not task.cancelling() and self._is_unchanged(context)
            finally:
                self._on_run_end(delivery)
                if not continues:
                    self.wake()

    def _is_unchanged(self, context: contextvars.Context) -> bool:
        try:
            return context == self._context
        except Exception:  # noqa: BLE001 - a comparison of values may raise
            return False

    def _next(self) -> Delivery | None:
        """Return the delivery to start now; None if none waits or none may start."""
        while self._waiting and self._n_running < self._gate.limit and not self._quarantine.runs_suspect:
            if is_suspect(self._waiting[0].message.attempts, self._max_attempts):
                self._suspects.waiting.append(self._waiting.popleft())
                self._quarantine.advance()
                continue
            if self._bucket is not None and (wait_s := self._bucket.take(self._now_s())) > 0.0:
                self._wake_in(wait_s)
                return None
            self._n_running += 1
            return self._waiting.popleft()
        return None

    def _wake_in(self, wait_s: float) -> None:
        if self._token_timer is None:
            self._token_timer = asyncio.get_running_loop().call_later(wait_s, self._on_token)

    def _on_token(self) -> None:
        self._token_timer = None
        self.wake()

    def _on_gate_change(self) -> None:
        self.wake()
        if self._suspects.waiting or self._quarantine.is_on:
            self._quarantine.advance()

    # The protocol ``quarantine.QuarantineMember``.

    @property
    def is_busy(self) -> bool:
        """Whether a delivery that is no suspect runs with its lease, or may start."""
        if self._waiting and self._gate.limit:
            return True
        now_s = self._now_s()
        return self._n_running > 0 and any(
            each.task is not None and not each.is_lost(now_s) for each in self._held
        )

    def suspect_turn(self) -> tuple[int, int] | None:
        """Return the sort key of the next suspect; None if none may run."""
        return self._suspects.next_turn() if self._gate.limit else None

    def isolate(self, *, is_on: bool) -> None:
        """Stop taking messages in; False resumes."""
        self._gate.quarantine(is_on=is_on)

    def run_suspect(self) -> None:
        """Start the next suspect in the next turn of the loop, after pending answers are sent."""
        delivery = self._suspects.start_next()
        self._n_running += 1
        delivery.task = asyncio.create_task(self._run_alone(delivery), context=self._context.copy())

    async def _run_alone(self, delivery: Delivery) -> None:
        if self._gate.limit:
            try:
                await self._processor.run(delivery)
            finally:
                self._on_run_end(delivery)
        else:  # the gate was shut in the same turn of the loop
            delivery.task = None
            self._n_running -= 1
            self._admit(delivery)
            self._quarantine.advance(suspect_ended=self._suspects.release(delivery))

    # Outcomes.

    def _on_run_end(self, delivery: Delivery) -> None:
        self._n_running -= 1
        if (redelivery := self._held.release(delivery)) is not None:
            self._resolve_redelivery(delivery, redelivery)
        if self._quarantine.is_on:
            self._quarantine.advance(suspect_ended=self._suspects.release(delivery))

    def _settle_unstarted(self, delivery: Delivery, verdict: Verdict) -> None:
        """Settle a delivery that has not started."""
        if delivery in self._waiting:
            self._waiting.remove(delivery)
        elif delivery in self._suspects.waiting:
            self._suspects.waiting.remove(delivery)
        self._settler.settle_now(delivery, verdict)
        if (redelivery := self._held.release(delivery)) is not None:
            self._resolve_redelivery(delivery, redelivery)
        self._gate.repeat_trial()
        if self._quarantine.is_on:
            self._quarantine.advance()

    def _resolve_redelivery(self, delivery: Delivery, redelivery: Delivery) -> None:
        """Admit a redelivery whose earlier delivery has ended, or finish it as a duplicate."""
        if delivery.is_done:
            self._settle_unstarted(redelivery, on_duplicate())
        else:
            self._admit(redelivery)

    def _receive_redelivery(self, earlier: Delivery, delivery: Delivery) -> None:
        """Take in a redelivery of a message in flight: the lease of the earlier delivery has ended."""
        earlier.is_redelivered = True
        if earlier.redelivery is not None:
            self._settle_unstarted(earlier.redelivery, LEASE_LOST)
        if earlier.task is not None:
            earlier.redelivery = delivery
            return
        earlier.redelivery = None
        self._held.supersede(delivery)
        self._admit(delivery)
        self._settle_unstarted(earlier, LEASE_LOST)

    def _overdue(self, delivery: Delivery) -> None:
        """Requeue a delivery that did not start in time; one that runs is settled as lost when it ends."""
        if delivery.task is not None:
            if self._quarantine.is_on:
                self._quarantine.advance(suspect_ended=self._suspects.release(delivery))
            return
        reason, for_s = self._gate.reason, self._gate.until_s - self._now_s()
        if reason is None:
            reason, for_s = RequeueReason.RATE_LIMITED if self._bucket else RequeueReason.PAUSED, 0.0
        self._held.detach(delivery)
        self._settle_unstarted(delivery, on_not_started(self._rules, reason, for_s=for_s))
