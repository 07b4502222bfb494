"""Threads: run deliveries in a plain handler's threads without a task for each, and finish them together."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from nsqkit.errors import DecodeError, UnknownEventError
from nsqkit.events.codec.decoder import Decoder
from nsqkit.handler.context import Context
from nsqkit.handler.current import CURRENT, NO_MESSAGE
from nsqkit.policy.outcome import Finish
from nsqkit.policy.thread_queue import ThreadQueue
from nsqkit.policy.verdict import SUCCESS
from nsqkit.runtime.delivery import Delivery, Shared
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.runtime.failure_monitor import FailureMonitor
from nsqkit.runtime.pool import Pool
from nsqkit.runtime.ports import Link, Message
from nsqkit.runtime.settle import Settler
from nsqkit.runtime.slots import Slots
from nsqkit.runtime.thread_call import ThreadCall


class DeliveryCall(ThreadCall):
    """The call of a delivery in a thread of its handler.

    Args:
        function: The handler's method.
        args: The event and the Context.
        asked_s: The present time, on the pool's clock.
        delivery: The delivery.
    """

    __slots__ = ("delivery",)

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, Context], asked_s: float, delivery: Delivery
    ) -> None:
        super().__init__(function, args, asked_s)
        self.delivery = delivery

    def run(self, now_s: Callable[[], float]) -> None:
        """Call the handler, unless the lease has ended while it waited for the thread."""
        delivery, started_s = self.delivery, now_s()
        if started_s >= delivery.quiet_until_s and delivery.is_over(started_s):
            self.error = asyncio.CancelledError()
            return
        self.args[1].started_s = started_s
        delivery.in_handler = True
        super().run(now_s)


class Threads:
    """Runs deliveries in the threads of a plain handler, ahead of which a few wait (ADR 0047).

    Most calls succeed and need no more than a FIN. Those that end together are finished together. Only a call
    that needs more, such as an error or an event to publish, continues in a task.

    Args:
        pool: The handler's threads.
        shared: State shared by the handler's deliveries.
        decoder: Decodes the event types that the handler takes.
        dispatcher: Calls the handler.
        settler: Carries out verdicts.
        monitor: Records the result of each handler call.
        slots: Counts the deliveries that run or wait for a thread.
        go_on: Processes a delivery whose call has begun, in a task.
        on_end: Called with each delivery that has ended without a task.
        wake: Called when calls have ended, so that others may start.
    """

    def __init__(
        self,
        pool: Pool,
        shared: Shared,
        *,
        decoder: Decoder,
        dispatcher: Dispatcher,
        settler: Settler,
        monitor: FailureMonitor,
        slots: Slots,
        go_on: Callable[[Delivery], None],
        on_end: Callable[[Delivery], None],
        wake: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._meter = shared.meter
        self._clock = shared.clock
        self._max_age_s = shared.rules.max_age_s
        self._decode = decoder.decode
        self._dispatcher = dispatcher
        self._settler = settler
        self._monitor = monitor
        self._slots = slots
        self._go_on = go_on
        self._on_end = on_end
        self._wake = wake
        self._queue = ThreadQueue()
        pool.on_ended = self._on_ended

    def start(self, delivery: Delivery, now_s: float) -> bool:
        """Let a delivery that has a slot wait for a thread; False if its handler is not to be called."""
        message = delivery.message
        if now_s >= delivery.quiet_until_s and delivery.is_over(now_s):
            return False
        if self._max_age_s is not None and self._is_expired(message, self._max_age_s):
            return False
        try:
            decoded = delivery.decoded = self._decode(message.body)
        except (DecodeError, UnknownEventError) as error:
            delivery.unread = error
            self._meter.age((self._clock.now_ns_at(message.address) - message.timestamp_ns) / 1e9)
            return False
        ctx = delivery.make_context()
        CURRENT.set(ctx)  # for the copy of the context in which the thread calls the handler
        delivery.task = call = DeliveryCall(self._dispatcher.handle, (decoded.event, ctx), now_s, delivery)
        CURRENT.set(NO_MESSAGE)
        self._pool.put(call)
        return True

    def _is_expired(self, message: Message, max_age_s: float) -> bool:
        """Return whether a message is too old; not if the clock of its nsqd is not known."""
        is_known = self._clock.skews_ns[message.address] is not None
        return is_known and self._clock.now_ns_at(message.address) - message.timestamp_ns > max_age_s * 1e9

    def withdraw(self) -> list[Delivery]:
        """Take back the deliveries that no thread has started, in the order of their start."""
        withdrawn = [call.delivery for call in cast("list[DeliveryCall]", self._pool.withdraw())]
        for delivery in withdrawn:
            delivery.task = delivery.ctx = None
        return withdrawn

    def _on_ended(self, calls: Sequence[DeliveryCall]) -> None:
        """Finish the messages of calls that have ended, and let those that need more go on in tasks."""
        now_s, is_told = self._clock.now_s(), self._settler.is_told
        done: dict[Link, list[DeliveryCall]] = {}
        for call in calls:
            delivery = call.delivery
            delivery.in_handler = False
            if not self._is_plain(call):
                self._meter.age(self._ages_s(delivery.message.address, (call,), now_s)[0])
                delivery.call = self._dispatcher.ended_in_thread(call)
                self._go_on(delivery)
                continue
            if self._monitor.is_watching:
                self._monitor.judge(delivery.epoch, SUCCESS, None)
            is_logged = not self._settler.unlogged
            if is_told or is_logged or delivery.is_redelivered or now_s >= delivery.quiet_until_s:
                self._settle(call, now_s)
            else:
                self._settler.unlogged -= 1
                done.setdefault(delivery.message.link, []).append(call)
        for link, finished in done.items():
            self._finish(link, finished, now_s)
        self._follow([call.ended_s - call.started_s for call in calls if call.started_s < math.inf])
        self._wake()

    def _is_plain(self, call: DeliveryCall) -> bool:
        """Return whether a call ended in time as a success that needs no more than a FIN."""
        ctx: Any = call.args[1]
        return (
            call.error is None
            and (call.returned is None or type(call.returned) is Finish)
            and not ctx.outgoing
            and ctx.unawaited is None
            and not self._dispatcher.is_late(call)
        )

    def _finish(self, link: Link, calls: Sequence[DeliveryCall], now_s: float) -> None:
        """Finish the messages of one connection; if it is gone, nsqd delivers them again."""
        if not link.finish_all([call.delivery.message.id for call in calls]):
            for call in calls:
                self._settle(call, now_s)
            return
        durations_s = [call.ended_s - call.started_s for call in calls]
        self._meter.succeeded(self._ages_s(link.address, calls, now_s), durations_s)
        for call in calls:
            call.delivery.is_done = True
            self._end(call.delivery)

    def _settle(self, call: DeliveryCall, now_s: float) -> None:
        """Settle a plain success by itself."""
        self._meter.age(self._ages_s(call.delivery.message.address, (call,), now_s)[0])
        self._meter.duration(call.ended_s - call.started_s)
        self._settler.settle_now(call.delivery, SUCCESS)
        self._end(call.delivery)

    def _ages_s(self, address: str, calls: Sequence[DeliveryCall], now_s: float) -> list[float]:
        """Return the age of each message when it was given to the threads, in seconds."""
        then_ns = self._clock.now_ns_at(address) - now_s * 1e9
        return [(then_ns - call.delivery.message.timestamp_ns) / 1e9 + call.asked_s for call in calls]

    def _end(self, delivery: Delivery) -> None:
        self._on_end(delivery)
        delivery.task = None  # break the reference cycle

    def _follow(self, durations_s: Sequence[float]) -> None:
        """Let as many deliveries wait for threads as suits the durations of the calls."""
        if durations_s and self._queue.ended(durations_s):
            self._slots.spread(self._queue.per_thread)
