"""Batch: collect messages, call the handler once with all of them, and return an outcome for each."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from typing import Any

from nsqkit.handler.awaited import as_coroutine
from nsqkit.handler.batch import BatchHandler, Delivery
from nsqkit.handler.context import Context
from nsqkit.handler.current import CURRENT
from nsqkit.handler.extension import BatchMiddleware, Middleware
from nsqkit.handler.once import BatchInbox
from nsqkit.handler.origin import place_of
from nsqkit.policy.leaves import refused_for_s, type_name
from nsqkit.policy.outcome import Duplicate, Finish, Outcome, Pause
from nsqkit.policy.quarantine import is_suspect
from nsqkit.policy.redaction import describe
from nsqkit.runtime.batch_call import BatchCall, Member, WithheldError, checked_outcomes
from nsqkit.runtime.call import Begun, Caller
from nsqkit.runtime.dispatch import wrapped, wrapped_batch
from nsqkit.runtime.failure import as_failure, is_from_outside
from nsqkit.runtime.scope import Scope


class BatchDispatcher:
    """Calls one batch handler instance; the batch counterpart of ``Dispatcher``.

    Each message has its own call with middleware around it. Inside the middleware, the calls of one
    batch are joined.

    Args:
        handler: The handler instance, made with its resources.
        middleware: Layers around each message, outermost first.
        around_batch: Layers around each batch, outermost first.
        threads: Maximum number of batches of a plain ``def handle`` at the same time; 1 or more.
        executor_waits: Called with the seconds that batches waited for a thread.
        log: structlog logger with the handler's fields.
        scope: Opens the resources of each batch.
        may_rerun: Returns whether the messages of a failed batch may be handled one by one now.
        now_s: Monotonic clock, seconds.
    """

    def __init__(
        self,
        handler: BatchHandler[Any],
        *,
        middleware: Sequence[Middleware] = (),
        around_batch: Sequence[BatchMiddleware] = (),
        threads: int = 1,
        executor_waits: Callable[[Sequence[float]], None] = lambda _: None,
        log: Any,
        scope: Scope | None = None,
        may_rerun: Callable[[], bool] = lambda: True,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        spec = self._spec = handler.spec
        self._log = log
        self._may_rerun = may_rerun
        self._max_messages = spec.max_messages or 1
        handle = as_coroutine(handler.handle) if spec.is_async else handler.handle
        for layer in spec.middleware:
            if isinstance(layer, BatchInbox):
                handle = layer.around(handle)
        in_threads = not (spec.is_async or spec.run_on_loop)
        self._max_batches = min(spec.most_calls, threads) if in_threads else spec.most_calls
        self._limit_s = float("inf") if spec.run_on_loop else spec.timeout_s
        scope = scope or Scope()
        self._caller = Caller(
            scope.inside(lambda batch, _: handle(batch)),
            spec,
            threads=self._max_batches,
            executor_waits=executor_waits,
            on_thread_end=scope.on_thread_end,
            now_s=now_s,
        )
        self._call_handler = wrapped_batch(scope.around(self._caller.call), around_batch)
        self._call = wrapped(self._join, middleware)
        self.start: Any = self._call
        self.is_plain = False
        self._numbers = count(1)
        self._members: dict[Context, Member] = {}
        self._gathering: list[Member] = []
        self._timer: asyncio.TimerHandle | None = None  # set until max_wait_s of the batch is over
        self._running: dict[asyncio.Task[None], Sequence[Member]] = {}
        self._is_giving_back = False

    async def call(self, event: Any, ctx: Context) -> Outcome | Duplicate:
        """Return the outcome of one message after its batch was handled.

        Raises:
            WithheldError: If the message was not handled, since the gate was shut after its batch failed.
            CancelledError: If the message was not handled: its lease is lost, or the worker drains.
            Exception: The handler's error when it was called with this message alone.
        """
        return self._checked_outcome(await self._call(event, ctx))

    async def rest(
        self, call: Coroutine[Any, Any, Any], waits_for: Any, _ctx: Context
    ) -> Outcome | Duplicate:
        """Continue a call after its first wait, and return its outcome; see ``Dispatcher.rest``."""
        return self._checked_outcome(await Begun(call, waits_for))

    async def ended(self, returned: Any, _ctx: Context) -> Outcome | Duplicate:
        """Return the outcome of a call that has returned without a wait, from a middleware."""
        return self._checked_outcome(returned)

    def _checked_outcome(self, outcome: Any) -> Outcome | Duplicate:
        if outcome is None:
            return Finish()
        if not isinstance(outcome, Outcome | Duplicate):
            raise TypeError(
                f"the middleware of {self._spec.name} returned {outcome!r}; return what call_next returned"
            )
        return outcome

    def in_thread(self, ctx: Context) -> bool:
        """Return whether the message's batch runs in a thread, which cannot be cancelled."""
        batch = self._members[ctx].batch if ctx in self._members else None
        return batch is not None and self._caller.in_thread(batch)

    @property
    def has_room(self) -> bool:
        """Whether batches can still start: not if the calls of as many as may run have lost all messages."""
        lost = (all(each.delivery.ctx.lease_lost for each in members) for members in self._running.values())
        return len(self._running) < self._max_batches or not all(lost)

    def withhold(self) -> None:
        """Give up the messages that wait for a batch, so that they can be handled elsewhere."""
        self._stop_timer()
        while self._gathering:
            self._gathering.pop().fail(WithheldError())

    def give_back(self) -> None:
        """Cancel the calls whose messages are not being handled, and start no more batches."""
        self._is_giving_back = True
        self._stop_timer()
        self._gathering.clear()
        for member in self._members.values():
            if member.batch is None:
                member.end.cancel()

    def close(self) -> None:
        """Accept no more calls. Running threads are not interrupted."""
        self._stop_timer()
        self._caller.close()

    # Collecting messages.

    async def _join(self, event: Any, ctx: Context) -> Any:
        """Add a message to the next batch, and wait for its outcome."""
        member = self._members[ctx] = Member(Delivery(str(next(self._numbers)), event, ctx))
        ctx.wait()
        if is_suspect(ctx.delivery.attempts, self._spec.retry.max_attempts):
            self._start([member])  # alone: in quarantine no other message would join its batch
        else:
            self._gather(member)
        try:
            return await member.end
        except asyncio.CancelledError:
            if member in self._gathering:
                self._gathering.remove(member)
            if member.batch is None or not member.batch.abandon():
                raise
            member.end = asyncio.get_running_loop().create_future()
            return await member.end  # the handler may still return outcomes after its cancellation
        finally:
            del self._members[ctx]

    def _gather(self, member: Member) -> None:
        if not self._gathering:
            loop = asyncio.get_running_loop()
            self._stop_timer()
            self._timer = loop.call_later(self._spec.max_wait_s, self._on_max_wait)
        self._gathering.append(member)
        self._start_due_batches()

    def _on_max_wait(self) -> None:
        self._timer = None
        self._start_due_batches()

    def _start_due_batches(self) -> None:
        """Start batches that are full or have waited for max_wait_s, as far as the limit allows."""
        while self._gathering and len(self._running) < self._max_batches:
            if self._timer is not None and len(self._gathering) < self._max_messages:
                return
            members = self._gathering[: self._max_messages]
            del self._gathering[: self._max_messages]
            if not self._gathering:
                self._stop_timer()
            self._start(members)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Running a batch.

    def _start(self, members: Sequence[Member]) -> None:
        run = asyncio.create_task(self._run(members), name=f"{self._spec.name}.batch")
        self._running[run] = members
        run.add_done_callback(self._on_batch_end)

    def _on_batch_end(self, run: "asyncio.Task[None]") -> None:
        del self._running[run]
        self._start_due_batches()

    async def _run(self, members: Sequence[Member]) -> None:
        """Handle a batch; if the call fails, handle its messages one by one."""
        batch = [member for member in members if self._may_begin(member)]
        if not batch:
            return
        error = await self._call_batch(batch)
        if error is None:
            return
        if len(batch) == 1 or self._is_outage(error):
            for member in batch:
                member.fail(error)
            return
        self._log.warning(
            "batch_failed",
            messages=len(batch),
            error_type=type_name(error),
            at=place_of(error) or None,
            detail=describe(error),
            hint="its messages are handled again one by one",
        )
        for member in batch:
            member.batch = None
            member.delivery.ctx.wait()
        for member in sorted(batch, key=lambda each: -each.delivery.ctx.attempts):
            await self._rerun(member, error)

    def _is_outage(self, error: Exception) -> bool:
        """Return whether a batch failed for all its messages: a breaker is open, or a rule says ``Pause``."""
        return refused_for_s(error) is not None or isinstance(self._spec.retry.outcome_for(error), Pause)

    async def _rerun(self, member: Member, error: Exception) -> None:
        """Handle one message of a failed batch alone; fail it if its lease leaves too little time."""
        ctx = member.delivery.ctx
        await asyncio.sleep(0)  # the message before has its verdict then, which may have shut the gate
        if not self._may_begin(member):
            return
        if not self._may_rerun():
            member.fail(WithheldError())
            return
        if self._limit_s < float("inf") and ctx.remaining_s() < self._limit_s:
            member.fail(error)
            return
        ctx.cancelled = False
        ctx.outgoing = ()
        if (own := await self._call_batch([member])) is not None:
            member.fail(own)

    def _may_begin(self, member: Member) -> bool:
        """Return whether a message may be handled; cancel its call if it is lost or the worker drains."""
        if self._is_giving_back or member.delivery.ctx.lease_lost:
            member.end.cancel()
        return not member.end.done()

    async def _call_batch(self, members: Sequence[Member]) -> Exception | None:
        """Call the handler and give every message its outcome; return the error if the call failed."""
        batch = BatchCall(members)
        for member in members:
            member.batch = batch
            member.delivery.ctx.start(self._limit_s)
        batch.task = asyncio.create_task(self._outcomes(batch), context=members[0].context.copy())
        await asyncio.wait((batch.task,))
        outcomes = None if batch.task.cancelled() else batch.task.result()
        if isinstance(outcomes, Exception) and not batch.is_abandoned:
            return outcomes
        for member in members:
            if isinstance(outcomes, dict):
                member.finish(outcomes.get(member.delivery.key, Finish()))
            else:
                member.end.cancel()
        return None

    async def _outcomes(self, batch: BatchCall) -> dict[str, Outcome | Duplicate] | Exception:
        """Return the outcomes by key that the handler returned, or its error."""
        CURRENT.set(batch)
        deliveries = tuple(member.delivery for member in batch.members)
        try:
            return checked_outcomes(self._spec.name, await self._call_handler(deliveries, batch), deliveries)
        except asyncio.CancelledError:
            if batch.is_abandoned:
                raise
            return RuntimeError("the handler raised CancelledError, but nsqkit did not cancel it")
        except BaseException as error:
            if is_from_outside(error, batch.task, is_stopping=self._is_giving_back):
                raise
            return as_failure(error)
