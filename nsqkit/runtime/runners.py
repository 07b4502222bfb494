"""Runners: the tasks that run the deliveries of one handler, one after another."""

import asyncio
import contextvars
import math
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from nsqkit.handler.current import without_message
from nsqkit.policy.quarantine import is_suspect
from nsqkit.policy.rate import TokenBucket
from nsqkit.runtime.delivery import Delivery, Shared, key_of
from nsqkit.runtime.ports import Message
from nsqkit.runtime.process import Processor
from nsqkit.runtime.quarantine import Quarantine
from nsqkit.runtime.slots import Slots
from nsqkit.runtime.start import Starter
from nsqkit.runtime.threads import Threads

TURN_S = 0.005
"""After so many seconds the runners leave the rest to the next turn of the event loop."""
_MOST_AT_ONCE = 32
"""Runners that start in one turn, at most."""


class Runners:
    """Runs messages in the order of their arrival, as many at a time as the slots allow.

    A message is fresh while it can start at once; then nothing exists of it but what nsqd sent. Otherwise it
    becomes a delivery that waits. Messages are fresh only while no delivery waits.

    Args:
        shared: State shared by the handler's deliveries.
        slots: Counts what runs.
        quarantine: Nothing starts while a suspect runs.
        starter: Handles fresh messages.
        processor: Processes a started delivery up to its outcome.
        threads: Runs deliveries in threads; None if the handler has no threads, or a call of it needs a task.
        admit: Called with each message that cannot start at once; makes it a delivery and adds it.
        on_suspect: Called with each delivery that must not start beside others.
        on_end: Called with each delivery when its run has ended.

    Attributes:
        fresh: The messages that start next.
        waiting: The deliveries that have not started, in the order of their start.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        slots: Slots,
        quarantine: Quarantine,
        starter: Starter,
        processor: Processor,
        threads: Threads | None,
        admit: Callable[[Message], None],
        on_suspect: Callable[[Delivery], None],
        on_end: Callable[[Delivery], None],
    ) -> None:
        self.fresh: deque[Message] = deque()
        self.waiting: deque[Delivery] = deque()
        self._name = f"{shared.spec.name}.handle"
        self._max_attempts = shared.rules.retry.max_attempts
        self._now_s = shared.clock.now_s
        self._slots = slots
        self._quarantine = quarantine
        self._starter = starter
        self._processor = processor
        self._threads = threads
        self._admit = admit
        self._on_suspect = on_suspect
        self._on_end = on_end
        self._bucket = TokenBucket(limit) if (limit := shared.spec.rate_limit) else None
        self._token_timer: asyncio.TimerHandle | None = None
        self._woken = 0  # runners that have not started yet
        self._at_once = 1  # runners to start in the next turn: more while handlers wait
        self._until_s = math.inf  # when the present turn ends; infinite until its first runner starts
        self._context = without_message()

    @property
    def has_rate_limit(self) -> bool:
        """Whether the handler has a rate limit."""
        return self._bucket is not None

    @property
    def is_rate_limited(self) -> bool:
        """Whether deliveries wait for the rate limit."""
        return self._token_timer is not None

    def arrive(self, messages: Sequence[Message]) -> None:
        """Start messages that have just arrived, or admit them."""
        self.fresh.extend(messages)
        if self._may_start() and not self._has_redeliveries(messages):
            self.wake()
        else:
            self.hold()

    def _may_start(self) -> bool:
        """Return whether the next messages to arrive may start without waiting."""
        if self._threads is not None or self._bucket is not None:
            return False
        is_free = self._slots.running < self._slots.limit
        return is_free and not (self.waiting or self._quarantine.is_on)

    def _has_redeliveries(self, messages: Sequence[Message]) -> bool:
        """Return whether nsqd has delivered a message again that is fresh or in flight."""
        for message in messages:
            if message.attempts > 1:
                has_twins = len({key_of(each) for each in self.fresh}) < len(self.fresh)
                return has_twins or any(map(self._starter.is_special, messages))
        return False

    def hold(self) -> None:
        """Admit all fresh messages: they cannot start at once."""
        messages = tuple(self.fresh)
        self.fresh.clear()
        for message in messages:
            self._admit(message)

    def add(self, delivery: Delivery) -> None:
        """Let a delivery wait behind the others, and start it if it may start."""
        if self.fresh:
            self.hold()
        self.waiting.append(delivery)
        if not self._woken:
            self.wake()

    def withdraw(self) -> None:
        """Let the deliveries that wait for a thread wait here again, before all others."""
        if self._threads is not None:
            for delivery in reversed(self._threads.withdraw()):
                self._slots.free(delivery.epoch)
                self.waiting.appendleft(delivery)
            self.wake()

    def wake(self) -> None:
        """Start runners in the next turn of the loop, if a message or a delivery may start."""
        left = len(self.fresh) + len(self.waiting)
        if not left or self._woken:
            return
        if (free := self._slots.limit - self._slots.running) > 0:
            self._until_s = math.inf
            self._woken = min(self._at_once, left, free)
            for _ in range(self._woken):
                context = self._context.copy()
                self._create_task(self._run_all(context), context)
        else:
            self.hold()

    def run_alone(self, run: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Run a coroutine in a task of its own, in the context of the runners."""
        return self._create_task(run, self._context.copy())

    def _create_task(
        self, run: Coroutine[None, None, None], context: contextvars.Context
    ) -> "asyncio.Task[None]":
        return asyncio.get_running_loop().create_task(run, name=self._name, context=context)

    def go_on(self, delivery: Delivery) -> None:
        """Process a delivery whose call has begun, in a task of its own.

        So other messages are handled in the same turn, and what they publish leaves together.
        """
        delivery.task = self.run_alone(self._process(delivery))

    async def _process(self, delivery: Delivery) -> None:
        try:
            await self._processor.run(delivery)
        finally:
            self._on_end(delivery)
            self.wake()

    def close(self) -> None:
        """Stop the timer. Final."""
        if self._token_timer is not None:
            self._token_timer.cancel()

    async def _run_all(self, context: contextvars.Context) -> None:
        """Run one delivery after another in this task, the runner; see :meth:`wake`.

        While a handler waits, a new runner takes the next delivery, so deliveries run concurrently. A handler
        that never waits needs no task for itself. If it leaves a context variable changed or the task
        cancelled, this runner ends and a new one continues, so that the next delivery is not affected.
        """
        task: Any = asyncio.current_task()
        self._woken -= 1
        now_s = self._now_s()
        self._until_s = until_s = min(self._until_s, now_s + TURN_S)
        continues = now_s <= until_s
        if not continues:
            self.wake()
        while continues and (delivery := self._next(task, context, until_s)) is not None:
            delivery.task = task
            self._at_once = min(2 * self._at_once, _MOST_AT_ONCE)
            self.wake()
            continues = False
            try:
                await self._processor.run(delivery)
                continues = self._continues(task, context, until_s)
            finally:
                self._on_end(delivery)
                if not continues:
                    self.wake()

    def _continues(self, task: "asyncio.Task[None]", context: contextvars.Context, until_s: float) -> bool:
        """Return whether this runner can take another message."""
        try:
            return context == self._context and not task.cancelling() and self._now_s() <= until_s
        except Exception:  # noqa: BLE001 - a comparison of values may raise
            return False

    def _next(
        self, task: "asyncio.Task[None]", context: contextvars.Context, until_s: float
    ) -> Delivery | None:
        """Return the delivery to run now; None if none is left or the next one is left to another runner."""
        slots = self._slots
        while self.fresh and slots.running < slots.limit and not self._quarantine.runs_suspect:
            try:
                delivery = self._starter.run(
                    self.fresh, task=task, contexts=(context, self._context), until_s=until_s
                )
            except BaseException:  # such as a second Ctrl-C: the other messages go on
                self.wake()
                raise
            if delivery is not None and not delivery.has_returned:
                return delivery
            self._at_once = 1
            if delivery is not None:
                self.go_on(delivery)
            if not (self.fresh or self.waiting):
                return None
            if not self._continues(task, context, until_s):
                self.wake()
                return None
        if self.fresh:
            self.hold()
        return self._next_waiting(until_s)

    def _next_waiting(self, until_s: float) -> Delivery | None:
        """Return the delivery to run now; None if none waits or none may start. Start others in threads."""
        slots = self._slots
        while self.waiting and slots.running < slots.limit and not self._quarantine.runs_suspect:
            if is_suspect(self.waiting[0].attempts, self._max_attempts):
                self._on_suspect(self.waiting.popleft())
                continue
            if self._bucket is not None and (wait_s := self._bucket.take(self._now_s())) > 0.0:
                self._wake_in(wait_s)
                return None
            delivery = self.waiting.popleft()
            delivery.epoch = slots.take()
            if self._threads is None:
                return delivery
            now_s = self._now_s()
            if not self._threads.start(delivery, now_s):
                return delivery
            if now_s > until_s:
                self.wake()
                break
        return None

    def _wake_in(self, wait_s: float) -> None:
        if self._token_timer is None:
            self._token_timer = asyncio.get_running_loop().call_later(wait_s, self._on_token)

    def _on_token(self) -> None:
        self._token_timer = None
        self.wake()
