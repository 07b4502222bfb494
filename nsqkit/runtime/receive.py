"""Receive: take in the messages of a handler, and start no more at a time than its gate allows."""

import asyncio
from collections.abc import Sequence

from nsqkit.events.codec.decoder import Decoder
from nsqkit.policy.outage import TRIALS_EACH
from nsqkit.policy.verdict import LEASE_LOST, SHUTDOWN, RequeueReason, Verdict, on_duplicate, on_not_started
from nsqkit.runtime.batch import BatchDispatcher
from nsqkit.runtime.delivery import Delivery, Shared
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.failure_monitor import FailureMonitor
from nsqkit.runtime.gate import Gate
from nsqkit.runtime.held import Held
from nsqkit.runtime.lease import LeaseKeeper
from nsqkit.runtime.ports import Message
from nsqkit.runtime.process import Processor
from nsqkit.runtime.quarantine import Quarantine, Suspects
from nsqkit.runtime.runners import Runners
from nsqkit.runtime.settle import Settler
from nsqkit.runtime.slots import Slots
from nsqkit.runtime.start import Starter
from nsqkit.runtime.threads import Threads


class Intake:
    """The intake of one handler: its deliveries in flight, running or waiting.

    A message starts when it arrives, if the gate allows it. Waiting deliveries are kept with TOUCH, and
    start in the order of their arrival. Suspects (``policy.quarantine``) wait for their turn in the worker.

    Args:
        shared: State shared by the handler's deliveries.
        slots: Counts the deliveries that run, and those that may.
        gate: Limits how many deliveries run at a time.
        quarantine: Runs the suspects of all handlers of the worker.
        dispatcher: Calls the handler inside its middleware.
        settler: Carries out verdicts.
        decoder: Decodes the event types that the handler takes.
        monitor: Records the result of each handler call.
        processor: Processes a started delivery up to its outcome.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        slots: Slots,
        gate: Gate,
        quarantine: Quarantine,
        dispatcher: Dispatcher | BatchDispatcher,
        decoder: Decoder,
        settler: Settler,
        monitor: FailureMonitor,
        processor: Processor,
    ) -> None:
        self._rules = shared.rules
        self._shared = shared
        self._meter = shared.meter
        self._now_s = shared.clock.now_s
        self._slots = slots
        self._gate = gate
        self._quarantine = quarantine
        self._dispatcher = dispatcher
        self._settler = settler
        self._processor = processor
        self._held = Held()
        self._keeper = LeaseKeeper(self._held, overdue=self._overdue, now_s=self._now_s)
        self._suspects = Suspects()
        starter = Starter(
            shared,
            decoder=decoder,
            dispatcher=dispatcher,
            settler=settler,
            monitor=monitor,
            slots=slots,
            held=self._held,
            watch=self._keeper.watch,
            hold=lambda: self._runners.hold(),  # noqa: PLW0108 - it is made later
        )
        self._runners = Runners(
            shared,
            slots=slots,
            quarantine=quarantine,
            starter=starter,
            processor=processor,
            threads=self._make_threads(shared, decoder, monitor),
            admit=self._receive_one,
            on_suspect=self._suspect,
            on_end=self._on_run_end,
        )
        self._waiting = self._runners.waiting
        self._giving_back = False
        gate.on_change(self._on_gate_change, self._has_trial)
        quarantine.join(self)

    def _make_threads(self, shared: Shared, decoder: Decoder, monitor: FailureMonitor) -> Threads | None:
        """Return what runs deliveries in threads; None if each call needs a task."""
        if not isinstance(self._dispatcher, Dispatcher) or self._dispatcher.pool is None:
            return None
        return Threads(
            self._dispatcher.pool,
            shared,
            decoder=decoder,
            dispatcher=self._dispatcher,
            settler=self._settler,
            monitor=monitor,
            slots=self._slots,
            go_on=lambda delivery: self._runners.go_on(delivery),  # noqa: PLW0108 - they are made later
            on_end=self._on_run_end,
            wake=self.wake,
        )

    @property
    def held(self) -> int:
        """Number of messages in flight: received and not settled yet."""
        return self._held.count + len(self._runners.fresh)

    @property
    def active(self) -> int:
        """Number of messages in flight; 0 if all of them wait for the gate to open."""
        return self.held if self._slots.running or self._slots.limit else 0

    @property
    def is_rate_limited(self) -> bool:
        """Whether messages wait for the rate limit."""
        return self._runners.is_rate_limited

    @property
    def lost_slots(self) -> int:
        """Number of lost slots: their handlers still run although the lease of the message is over."""
        return self._slots.lost

    @property
    def is_settling(self) -> bool:
        """Whether a delivery has started whose handler is not running: it is being decoded or settled."""
        return any(each.task is not None and not each.in_handler for each in self._held)

    def receive(self, messages: Sequence[Message]) -> None:
        """Take in messages of one nsqd, one or more: start them, let them wait, or requeue them."""
        self._meter.received(len(messages))
        self._runners.arrive(messages)

    def _receive_one(self, message: Message) -> None:
        """Take in a message that cannot start at once."""
        delivery = Delivery(message, self._shared, self._keeper.watch)
        earlier = self._held.add(delivery)
        if earlier is not delivery:
            self._receive_redelivery(earlier, delivery)
        elif self._giving_back:
            self._settle_unstarted(delivery, SHUTDOWN)
        else:
            self._runners.add(delivery)
        self._keeper.watch(delivery)

    def stop(self) -> None:
        """Start no more deliveries. Arriving messages wait until :meth:`give_back`, which follows CLS."""
        self._processor.is_stopping = True
        self._runners.hold()
        self._gate.close()

    def give_back(self) -> None:
        """Requeue all waiting messages, and from now on those that still arrive."""
        self._giving_back = True
        self._dispatcher.give_back()
        for delivery in (*self._waiting, *self._suspects.waiting):
            self._settle_unstarted(delivery, SHUTDOWN)

    def cancel(self) -> None:
        """Cancel running handlers and middleware, and requeue the redeliveries that wait for them to end."""
        for delivery in tuple(self._held):
            ctx, task = delivery.ctx, delivery.task
            if task is None:
                self._held.detach(delivery)
                self._settle_unstarted(delivery, SHUTDOWN)
            if ctx is not None:
                ctx.cancelled = True
                if not delivery.in_handler or self._dispatcher.in_thread(ctx):
                    continue  # a handler in a thread can only look at ctx.cancelled
                if isinstance(task, asyncio.Task):
                    task.cancel()

    async def wait_empty(self) -> None:
        """Wait until every received message is settled."""
        await self._held.wait_empty()

    def close(self) -> None:
        """Stop the timers. Final."""
        self._keeper.close()
        self._runners.close()

    # Waiting and starting.

    def _admit(self, delivery: Delivery) -> None:
        if self._giving_back:
            self._settle_unstarted(delivery, SHUTDOWN)
        else:
            self._runners.add(delivery)

    def wake(self) -> None:
        """Start the waiting deliveries that may start."""
        self._runners.wake()

    def _on_gate_change(self) -> None:
        self._slots.update()
        if self._slots.running > self._slots.limit:
            self._runners.withdraw()
        self.wake()
        if self._suspects.waiting or self._quarantine.is_on:
            self._quarantine.advance()

    def _suspect(self, delivery: Delivery) -> None:
        self._suspects.waiting.append(delivery)
        self._quarantine.advance()

    def _has_trial(self) -> bool:
        """Return whether a waiting delivery can be the next trial: one that has not failed too often."""
        is_full = self._held.count >= max(2, self._slots.count)
        return is_full or any(each.kept < TRIALS_EACH for each in (*self._waiting, *self._suspects.waiting))

    # The protocol ``quarantine.QuarantineMember``.

    @property
    def is_busy(self) -> bool:
        """Whether a delivery that is no suspect runs with its lease, or may start."""
        slots = self._slots
        may_start = bool(self._waiting or self._runners.fresh) and slots.running < slots.limit
        return may_start or (slots.running > 0 and self._held.has_running(self._now_s()))

    def suspect_turn(self) -> tuple[int, int] | None:
        """Return the sort key of the next suspect; None if none may run."""
        return self._suspects.next_turn() if self._slots.limit else None

    def isolate(self, *, is_on: bool) -> None:
        """Stop taking messages in; False resumes."""
        self._runners.hold()
        self._gate.quarantine(is_on=is_on)

    def run_suspect(self) -> None:
        """Start the next suspect in the next turn of the loop, after pending answers are sent."""
        delivery = self._suspects.start_next()
        delivery.epoch = self._slots.take()
        delivery.task = self._runners.run_alone(self._run_alone(delivery))

    async def _run_alone(self, delivery: Delivery) -> None:
        if self._slots.limit:
            delivery.start_suspect()
            try:
                await self._processor.run(delivery)
            finally:
                self._on_run_end(delivery)
        else:  # the gate was shut in the same turn of the loop
            delivery.task = None
            self._slots.release(delivery)
            self._admit(delivery)
            self._quarantine.advance(suspect_ended=self._suspects.release(delivery))

    # Outcomes.

    def _on_run_end(self, delivery: Delivery) -> None:
        slots = self._slots
        if delivery.has_lost_slot or delivery.epoch != slots.epoch:
            slots.release(delivery)
            self.wake()
        else:
            slots.free(delivery.epoch)
        if delivery.is_kept:
            self._keep(delivery)
        elif (redelivery := self._held.release(delivery)) is not None:
            self._resolve_redelivery(delivery, redelivery)
        if self._quarantine.is_on:
            self._quarantine.advance(suspect_ended=self._suspects.release(delivery))

    def _keep(self, delivery: Delivery) -> None:
        """Let a delivery wait again, behind all others, so that the next trial is another message."""
        delivery.wait_again()
        self._admit(delivery)
        self._keeper.watch(delivery)
        self._requeue_stranded()

    def drop_lost(self) -> None:
        """Settle the waiting deliveries whose connection has ended: nsqd delivers their messages again."""
        self._runners.hold()
        self._runners.withdraw()
        for delivery in (*self._waiting, *self._suspects.waiting):
            if delivery.message.is_lost():
                self._held.detach(delivery)
                self._settle_unstarted(delivery, LEASE_LOST)

    def _lose_slot(self, delivery: Delivery) -> None:
        """Count the slot of a running delivery as lost; it is regained when the delivery ends."""
        self._slots.lose(delivery, is_full=not self._dispatcher.has_room)
        self._gate.repeat_trial()
        self._requeue_stranded()
        self.wake()

    def _requeue_stranded(self) -> None:
        """Requeue the waiting messages if no slot is left: another worker can handle them."""
        if self._slots.limit or not self._gate.limit:
            return
        self._dispatcher.withhold()
        self._runners.withdraw()
        for waiting in tuple(self._waiting):
            self._settle_unstarted(waiting, on_not_started(self._rules, RequeueReason.PAUSED, for_s=0.0))

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
        self._recall(earlier)
        delivery.follow(earlier.redelivery or earlier)
        if earlier.redelivery is not None:
            self._settle_unstarted(earlier.redelivery, LEASE_LOST)
        if earlier.task is not None:  # it may never end, and another worker can take the message
            delivery.give_back_by_s = self._now_s() + delivery.message.lease_s
            earlier.redelivery = delivery
            self._overdue(earlier)
            return
        earlier.redelivery = None
        self._held.supersede(delivery)
        self._admit(delivery)
        self._settle_unstarted(earlier, LEASE_LOST)

    def _recall(self, delivery: Delivery) -> None:
        """If a delivery waits for a thread, let it wait for its start again; its thread may start it now."""
        if delivery.waits_for_thread:
            self._runners.withdraw()

    def _overdue(self, delivery: Delivery) -> None:
        """Requeue a delivery that did not start in time; one that runs is settled as lost when it ends."""
        if not self._held.holds(delivery):
            return
        self._recall(delivery)
        if delivery.task is not None:
            if not delivery.has_lost_slot and delivery.is_over(self._now_s()):
                self._lose_slot(delivery)
            if self._quarantine.is_on:
                self._quarantine.advance(suspect_ended=self._suspects.release(delivery))
            return
        reason, for_s = self._gate.reason, self._gate.until_s - self._now_s()
        if reason is None:
            is_limited = self._runners.has_rate_limit
            reason, for_s = RequeueReason.RATE_LIMITED if is_limited else RequeueReason.PAUSED, 0.0
        self._held.detach(delivery)
        self._settle_unstarted(delivery, on_not_started(self._rules, reason, for_s=for_s))
