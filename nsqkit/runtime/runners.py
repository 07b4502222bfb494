"""Runners: the tasks that run the waiting deliveries of one handler, one after another."""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from typing import cast

from nsqkit.policy.quarantine import is_suspect
from nsqkit.policy.rate import TokenBucket
from nsqkit.runtime.delivery import Delivery, Shared
from nsqkit.runtime.process import Processor
from nsqkit.runtime.quarantine import Quarantine
from nsqkit.runtime.slots import Slots


class Runners:
    """Runs waiting deliveries in the order of their arrival, as many at a time as the slots allow.

    Args:
        shared: State shared by the handler's deliveries.
        slots: Counts what runs.
        quarantine: Nothing starts while a suspect runs.
        processor: Processes a started delivery up to its outcome.
        on_suspect: Called with each delivery that must not start beside others.
        on_end: Called with each delivery when its run has ended.

    Attributes:
        waiting: The deliveries that have not started, in the order of their start.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        slots: Slots,
        quarantine: Quarantine,
        processor: Processor,
        on_suspect: Callable[[Delivery], None],
        on_end: Callable[[Delivery], None],
    ) -> None:
        self.waiting: deque[Delivery] = deque()
        self._name = f"{shared.spec.name}.handle"
        self._max_attempts = shared.rules.retry.max_attempts
        self._now_s = shared.clock.now_s
        self._slots = slots
        self._quarantine = quarantine
        self._processor = processor
        self._on_suspect = on_suspect
        self._on_end = on_end
        self._bucket = TokenBucket(limit) if (limit := shared.spec.rate_limit) else None
        self._token_timer: asyncio.TimerHandle | None = None
        self._is_waking = False
        self._context = contextvars.copy_context()

    @property
    def has_rate_limit(self) -> bool:
        """Whether the handler has a rate limit."""
        return self._bucket is not None

    @property
    def is_rate_limited(self) -> bool:
        """Whether deliveries wait for the rate limit."""
        return self._token_timer is not None

    def add(self, delivery: Delivery) -> None:
        """Let a delivery wait behind the others, and start it if it may start."""
        self.waiting.append(delivery)
        if not self._is_waking:
            self.wake()

    def wake(self) -> None:
        """Start a runner in the next turn of the loop, if a waiting delivery may start."""
        if self.waiting and not self._is_waking and self._slots.running < self._slots.limit:
            self._is_waking = True
            context = self._context.copy()
            asyncio.create_task(self._run_waiting(context), name=self._name, context=context)  # noqa: RUF006 - in Delivery.task

    def run_alone(self, run: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Run a coroutine in a task of its own, in the context of the runners."""
        return asyncio.create_task(run, name=self._name, context=self._context.copy())

    def close(self) -> None:
        """Stop the timer. Final."""
        if self._token_timer is not None:
            self._token_timer.cancel()

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
                self._on_end(delivery)
                if not continues:
                    self.wake()

    def _is_unchanged(self, context: contextvars.Context) -> bool:
        try:
            return context == self._context
        except Exception:  # noqa: BLE001 - a comparison of values may raise
            return False

    def _next(self) -> Delivery | None:
        """Return the delivery to start now; None if none waits or none may start."""
        slots = self._slots
        while self.waiting and slots.running < slots.limit and not self._quarantine.runs_suspect:
            if is_suspect(self.waiting[0].attempts, self._max_attempts):
                self._on_suspect(self.waiting.popleft())
                continue
            if self._bucket is not None and (wait_s := self._bucket.take(self._now_s())) > 0.0:
                self._wake_in(wait_s)
                return None
            slots.running += 1
            delivery = self.waiting.popleft()
            delivery.epoch = slots.epoch
            return delivery
        return None

    def _wake_in(self, wait_s: float) -> None:
        if self._token_timer is None:
            self._token_timer = asyncio.get_running_loop().call_later(wait_s, self._on_token)

    def _on_token(self) -> None:
        self._token_timer = None
        self.wake()
