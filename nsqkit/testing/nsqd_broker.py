"""The harness's NSQ as a real nsqd, with its data in a temporary folder."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from nsqkit.nsq import Consumer, ConsumerOptions, Endpoints, NsqdHttp
from nsqkit.nsq.options import connection_options
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.settings.settings import Settings
from nsqkit.testing.broker import HandlerActivity
from nsqkit.testing.clock import MAX_WAIT_S, RealClock
from nsqkit.testing.errors import HarnessError, NeedsVirtualTimeError
from nsqkit.testing.nsqd_process import nsqd

POLL_S = 0.01
_COUNTS = ("channel_name", "message_count", "requeue_count", "depth", "in_flight_count", "deferred_count")


class ChannelsState(NamedTuple):
    """The handlers' channels on nsqd: whether messages are due or deferred, and all counts."""

    is_due: bool
    is_deferred: bool
    counts: tuple[tuple[Any, ...], ...]


class NsqdBroker:
    """A real nsqd, started for one harness.

    Args:
        settings: Settings of the connections.
    """

    def __init__(self, settings: Settings) -> None:
        self.address = ""
        self.max_msg_bytes = settings.max_msg_bytes
        self.clock = RealClock()
        self.now_s = time.monotonic
        self.now_ns = time.time_ns
        self._channels: frozenset[tuple[str, str]] = frozenset()
        self._http: NsqdHttp
        self._stack = AsyncExitStack()
        self._publishers = PublisherPool(
            connection_options(settings), publish_timeout_s=settings.publish_timeout_s
        )
        self.publish = self._publishers.publish
        self.publish_many = self._publishers.publish_many
        self.ensure_channel = self._publishers.ensure_channel

    async def start(self, channels: Sequence[tuple[str, str]]) -> None:
        """Start nsqd, and create the channels.

        nsqd is started twice. It looks for due deferred messages all the time in channels that exist at
        its start, but only every 5 s in new ones.

        Raises:
            HarnessError: If nsqd is not found, or does not start.
        """
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nsqkit-nsqd-"))
            async with nsqd(folder) as addresses:
                for topic, channel in channels:
                    await NsqdHttp(addresses["HTTP"]).create_channel(topic, channel)
            addresses = await stack.enter_async_context(nsqd(folder))
            self.address, self._http = addresses["TCP"], NsqdHttp(addresses["HTTP"])
            stack.push_async_callback(self._publishers.close)
            for topic, channel in channels:
                await self.ensure_channel(self.address, topic, channel)
            self._channels = frozenset(channels)
            self._stack = stack.pop_all()

    def make_consumer(self, options: ConsumerOptions, **callbacks: Any) -> Consumer:
        """Return a handler's consumer; see ``Subscription``."""
        return Consumer(options, Endpoints((self.address,)), **callbacks)

    async def settle(self, activity: HandlerActivity, *, through_delays: bool) -> None:
        """Return when nsqd has nothing to deliver now, and no handler is working; see ``Broker``.

        Raises:
            HarnessError: If nsqd has messages that are due and does not deliver them.
            NeedsVirtualTimeError: If a delay takes more real time than the harness waits.
        """
        await self.clock.wait()
        before, changed_s = None, 0.0
        while True:
            state = await self._state()
            waits = through_delays and (state.is_deferred or activity.is_paused())
            if not (state.is_due or waits or activity.active()) and state == before:
                return  # the same twice, since nsqd's answer is not a consistent snapshot
            if state != before:
                before, changed_s = state, time.monotonic()
            if through_delays and activity.longest_wait_s() > MAX_WAIT_S:
                raise NeedsVirtualTimeError(
                    f"needs the virtual clock: a message is requeued for {activity.longest_wait_s():.0f} s"
                )
            if time.monotonic() > changed_s + MAX_WAIT_S:
                if state.is_due and not activity.active():
                    raise HarnessError(
                        f"nsqd has delivered nothing for {MAX_WAIT_S:g} s, and has {state.counts}"
                    )
                raise NeedsVirtualTimeError(
                    f"needs the virtual clock: nothing has happened for {MAX_WAIT_S:g} s"
                )
            await asyncio.sleep(POLL_S)

    def drop_connections(self) -> None:
        """Refuse: the messages come back only when their lease ends, which takes too long."""
        raise NeedsVirtualTimeError("needs the virtual clock: after drop_connection() a lease has to end")

    async def stop(self) -> None:
        """Disconnect, and stop nsqd."""
        await self._stack.aclose()

    async def _state(self) -> ChannelsState:
        stats: Any = await self._http.stats()
        is_due = is_deferred = False
        counts = []
        for topic in stats["topics"]:
            for channel in topic["channels"]:
                if (topic["topic_name"], channel["channel_name"]) in self._channels:
                    unseen = topic["message_count"] - channel["message_count"]  # not yet in the channel
                    is_due |= bool(unseen or channel["depth"] or channel["in_flight_count"])
                    is_deferred |= bool(channel["deferred_count"])
                    counts.append(tuple(channel[count] for count in _COUNTS))
        return ChannelsState(is_due, is_deferred, tuple(counts))
