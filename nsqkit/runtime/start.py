"""Start: take fresh messages to their handler's first wait, and finish those that need no more."""

import contextvars
import math
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from nsqkit.errors import DecodeError, UnknownEventError
from nsqkit.events.codec.decoder import Decoder
from nsqkit.handler.current import CURRENT, NO_MESSAGE
from nsqkit.policy.outcome import DeadLetter, Finish
from nsqkit.policy.verdict import SUCCESS
from nsqkit.runtime import unawaited
from nsqkit.runtime.batch import BatchDispatcher
from nsqkit.runtime.delivery import QUIET_RATIO, Delivery, MessageContext, Shared
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.failure_monitor import FailureMonitor
from nsqkit.runtime.held import Held
from nsqkit.runtime.ports import Link, Message
from nsqkit.runtime.settle import Settler
from nsqkit.runtime.slots import Slots

if TYPE_CHECKING:
    import asyncio


class Starter:
    """Handles messages of which nothing exists yet but what nsqd sent.

    Most handlers return without a wait and without an outcome. Their messages are decoded, handled and
    finished here, one after another in one task, and a chunk of them in one command. Only a message that
    needs more becomes a :class:`Delivery` (ADR 0045).

    Args:
        shared: State shared by the handler's deliveries.
        decoder: Decodes the event types that the handler takes.
        dispatcher: Calls the handler inside its middleware.
        settler: Carries out verdicts.
        monitor: Records the result of each handler call.
        slots: Counts the deliveries that run.
        held: The deliveries that are not settled yet.
        watch: Keeps the lease of a delivery.
        hold: Lets all fresh messages wait instead: the next one is not fit to be handled here.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        decoder: Decoder,
        dispatcher: Dispatcher | BatchDispatcher,
        settler: Settler,
        monitor: FailureMonitor,
        slots: Slots,
        held: Held,
        watch: Callable[[Delivery], None],
        hold: Callable[[], None],
    ) -> None:
        self._shared = shared
        self._meter = shared.meter
        self._clock = shared.clock
        self._decode = decoder.decode
        self._dispatcher = dispatcher
        self._settler = settler
        self._monitor = monitor
        self._slots = slots
        self._held = held
        self._watch = watch
        self._hold = hold
        self._retry = shared.rules.retry
        self._max_age_s = shared.rules.max_age_s
        unawaited.watch(shared.spec.handler.__module__, _CALLS)

    def run(  # noqa: C901, PLR0912, PLR0915 - the hot path: each call would cost a message as much as a branch saves
        self,
        fresh: deque[Message],
        *,
        task: "asyncio.Task[None]",
        contexts: tuple[contextvars.Context, contextvars.Context],
        until_s: float,
    ) -> Delivery | None:
        """Handle fresh messages of one connection, until one of them needs more.

        It also ends after *until_s*, when the gate is shut, and when a handler has cancelled the task or left
        another context variable changed than ``CURRENT``, which the next message must not see.

        Args:
            fresh: Messages in the order of their arrival, one or more; those that are handled are removed.
            task: The running task.
            contexts: The task's context, and what it was at first.
            until_s: Time by which others get their turn.

        Returns:
            The delivery that needs more, and occupies a slot; None if there is none.
        """
        now_s, decode, start = self._clock.now_s, self._decode, self._dispatcher.start
        set_current, is_plain_call = CURRENT.set, self._dispatcher.is_plain
        returns = _NeverRaisedError if is_plain_call else StopIteration
        slots, monitor, is_told = self._slots, self._monitor, self._settler.is_told
        unlogged = self._settler.unlogged
        link = fresh[0].link
        quiet_s = QUIET_RATIO * link.lease_s
        now_ns, oldest_ns = self._times_ns(link.address)
        done: list[tuple[Message, float]] = []  # with the duration, in seconds
        delivery: Delivery | None = None
        context, unchanged = contexts
        epoch = slots.take()
        ended_s = now_s()
        try:
            while fresh and slots.running <= slots.limit:
                message, ctx = fresh[0], None
                if message.link is not link:
                    break
                if (
                    ended_s - message.received_s > quiet_s
                    or message.timestamp_ns < oldest_ns
                    or (message.attempts > 1 and self.is_special(message))
                ):
                    self._hold()
                    break
                fresh.popleft()
                try:
                    decoded = decode(message.body)
                except (DecodeError, UnknownEventError) as error:
                    delivery = self._unread(message, error)
                    break
                ctx = MessageContext(message, decoded, self._shared, self._watch)
                set_current(ctx)
                ctx.started_s = started_s = now_s()
                try:
                    call = start(decoded.event, ctx)
                    waits_for = None if is_plain_call else call.send(None)
                except returns as end:
                    returned = end.value
                except BaseException as error:  # noqa: BLE001 - the delivery's task raises it
                    delivery = self._begun(ctx, _raised(error))
                    delivery.has_returned = self._may_give_up(message, error)
                    break
                else:
                    if not is_plain_call:
                        delivery = self._begun(ctx, self._dispatcher.rest(call, waits_for, ctx))
                        break
                    returned = call
                ended_s = now_s()
                is_plain = returned is None or type(returned) is Finish
                is_late = ended_s - message.received_s > quiet_s
                wants_more = is_told or not unlogged or is_late or ctx.unawaited is not None
                if wants_more or not is_plain or ctx.outgoing or ctx.recorders:
                    delivery = self._begun(ctx, self._dispatcher.ended(returned, ctx))
                    delivery.has_returned = bool(ctx.outgoing) or type(returned) is DeadLetter
                    break
                done.append((message, ended_s - started_s))
                unlogged -= 1
                if monitor.is_watching:
                    monitor.judge(epoch, SUCCESS, None)
                try:
                    is_same = context == unchanged
                except Exception:  # noqa: BLE001 - a comparison of values may raise
                    is_same = False
                if ended_s > until_s or not is_same or task.cancelling():
                    break
        finally:
            set_current(NO_MESSAGE)
            self._settler.unlogged = unlogged
            if done:
                self._finish(link, done, now_ns)
            if delivery is None:
                slots.free(epoch)
            else:
                delivery.epoch = epoch
                self._meter.age((now_ns - delivery.message.timestamp_ns) / 1e9)
        return delivery

    def _times_ns(self, address: str) -> tuple[int, float]:
        """Return the present time by the clock of an nsqd, and when the oldest valid message was published.

        The latter is minus infinity if messages do not expire, or the clock of the nsqd is not known.
        """
        now_ns = self._clock.now_ns_at(address)
        if self._max_age_s is None or self._clock.skews_ns[address] is None:
            return now_ns, -math.inf
        return now_ns, now_ns - self._max_age_s * 1e9

    def is_special(self, message: Message) -> bool:
        """Return whether a message is a suspect, in flight already, or had deliveries that do not count."""
        return (
            message.attempts > self._retry.max_attempts
            or bool(self._shared.uncounted)
            or message in self._held
        )

    def _may_give_up(self, message: Message, error: BaseException) -> bool:
        """Return whether a message may become a dead letter, and not come again, since its handler raised."""
        is_final = isinstance(error, Exception) and not self._retry.retries(error)
        return is_final or message.attempts >= self._retry.max_attempts

    def _unread(self, message: Message, error: DecodeError | UnknownEventError) -> Delivery:
        delivery = Delivery(message, self._shared, self._watch)
        delivery.unread = error
        delivery.has_returned = True
        return self._kept(delivery)

    def _begun(self, ctx: MessageContext, call: Coroutine[Any, Any, Any]) -> Delivery:
        delivery: Any = ctx.delivery
        delivery.ctx = ctx
        delivery.call = call
        return self._kept(delivery)

    def _kept(self, delivery: Delivery) -> Delivery:
        self._held.add(delivery)
        self._watch(delivery)
        return delivery

    def _finish(self, link: Link, done: Sequence[tuple[Message, float]], now_ns: int) -> None:
        """Finish messages that were handled; if their connection is gone, nsqd delivers them again."""
        if link.finish_all([message.id for message, _ in done]):
            ages_s = [(now_ns - message.timestamp_ns) / 1e9 for message, _ in done]
            self._meter.succeeded(ages_s, [duration_s for _, duration_s in done])
            return
        for message, duration_s in done:
            self._meter.age((now_ns - message.timestamp_ns) / 1e9)
            self._meter.duration(duration_s)
            self._settler.settle_now(Delivery(message, self._shared, self._watch), SUCCESS)


class _NeverRaisedError(StopIteration):
    """Ends no call of a plain handler: a ``StopIteration`` that it raises is an error like any other."""


async def _raised(error: BaseException) -> Any:
    raise error


_CALLS = {Starter.run.__code__: itemgetter("ctx")}
"""Where ``unawaited`` finds the Context of the running call; None between two calls."""
