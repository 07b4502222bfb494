"""Publisher: publishes events from programs with an event loop, and awaits nsqd's OK."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Self

from nsqkit.errors import PublishError, SettingsError
from nsqkit.events.any_event import AnyEvent
from nsqkit.handler.extension import Extension, Hooks
from nsqkit.handler.outgoing import Outgoing, Preparer, reported
from nsqkit.handler.publish_counts import count_published
from nsqkit.nsq.options import connection_options
from nsqkit.nsq.publish_batcher import Groups, PublishBatcher
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.settings.settings import Settings

_SOON_S = 0.002
_inherited: list[object] = []
"""Parts of publishers of the parent process: Python would complain about the tasks when it collects them."""


class Publisher:
    """Publishes events and awaits nsqd's OK. An async context manager.

    With several nsqd, one is used until it fails, then the next. While publishes are under way, those to one
    topic from one turn of the event loop are sent in one command, in their order.

    It runs on one event loop at a time. On the next one, as in a second ``asyncio.run``, it connects again;
    publishes that the ended loop has left unconfirmed fail with PublishError. So it does in a child process
    after a fork; publishes under way stay with the parent process.

    Args:
        nsqd: ``host:port`` of one or more nsqd; by default the setting ``nsqd``.
        source: The ``source`` of envelopes; by default the setting ``service``.
        settings: Settings to use; by default read from the environment and the settings file.
        middleware: Extensions whose ``on_publish`` sees each message, outermost first.

    Raises:
        SettingsError: If no nsqd is given, or an address is not valid.
    """

    def __init__(
        self,
        nsqd: str | Sequence[str] = (),
        *,
        source: str | None = None,
        settings: Settings | None = None,
        middleware: Sequence[Extension] = (),
    ) -> None:
        found = settings or Settings.load()
        given = (nsqd,) if isinstance(nsqd, str) else tuple(nsqd)
        self._addresses = list(Settings(nsqd=given).nsqd or found.nsqd)
        if not self._addresses:
            raise SettingsError("no nsqd to publish to: give Publisher('host:4150') or set NSQKIT_NSQD")
        self._preparer = Preparer(
            source=source or found.service,
            max_msg_bytes=found.max_msg_bytes,
            hooks=Hooks.of(middleware).on_publish,
            nsqd=self._addresses[0] if len(self._addresses) == 1 else "",
        )
        self._settings = found
        self._max_msg_bytes = found.max_msg_bytes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._begin()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def publish(self, event: AnyEvent, *, topic: str | None = None, defer_s: float = 0.0) -> None:
        """Publish one event and await nsqd's OK.

        Args:
            event: An instance of a class decorated with ``@event``.
            topic: Topic to publish to; by default the topic of its ``@event``.
            defer_s: Seconds until nsqd delivers it; 0 to nsqd's max-req-timeout, 1 h by default.

        Raises:
            EncodeError: If it is not an event, has no topic, or cannot be written as JSON.
            PublishError: If no nsqd confirmed it; the event may have arrived nevertheless.
        """
        ready = self._preparer.event(event, topic, defer_s)
        if ready is not None:
            await reported(self._publish(ready.topic, ready.body, ready.defer_s), (ready,))

    async def publish_many(self, events: Iterable[AnyEvent], *, topic: str | None = None) -> None:
        """Publish events in one command per topic and await nsqd's OK for each command.

        The events of one command arrive all or none. Events of one topic that are together larger than nsqd's
        max-body-size, 5 MiB by default, need several commands. These are sent one after the other, and the
        first that fails ends it: then the events of those before it have arrived.

        Args:
            events: Instances of classes decorated with ``@event``; order kept within a topic.
            topic: Topic to publish to; by default the topic of each ``@event``.

        Raises:
            EncodeError: If one is not an event, has no topic, or cannot be written as JSON; none is sent.
            PublishError: If no nsqd confirmed the events of a command.
        """
        by_topic: dict[str, list[Outgoing]] = {}
        for event in events:
            if (ready := self._preparer.event(event, topic, 0.0)) is not None:
                by_topic.setdefault(ready.topic, []).append(ready)
        for target, outgoing in by_topic.items():
            bodies = [each.body for each in outgoing]
            self._use_loop()
            await reported(self._turn.after(target, self._send(target, [bodies])), outgoing)

    def publish_soon(self, event: AnyEvent, *, topic: str | None = None) -> "asyncio.Future[None]":
        """Publish an event together with others of the next 2 ms: faster for many events, slower for one.

        The number of events that wait for nsqd is not limited: await every future, or every thousandth.

        Args:
            event: An instance of a class decorated with ``@event``; encoded immediately.
            topic: Topic to publish to; by default the topic of its ``@event``.

        Returns:
            A future that is done at nsqd's OK, and fails with PublishError if no nsqd confirmed the event's
            command; the event may have arrived nevertheless.

        Raises:
            EncodeError: If it is not an event, has no topic, or cannot be written as JSON.
        """
        ready = self._preparer.event(event, topic, 0.0)
        if ready is None:
            kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            kept.set_result(None)
            return kept
        self._use_loop()
        confirmed = self._soon.add(ready.topic, (ready.body,))
        if ready.when_done:
            confirmed.add_done_callback(lambda done: ready.done(_failure_of(done)))
        return confirmed

    async def publish_raw(self, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish bytes as they are, without an envelope, and await nsqd's OK.

        Args:
            topic: Topic to publish to.
            body: The message body: 1 byte to nsqd's max-msg-size, 1 MiB by default.
            defer_s: Seconds until nsqd delivers it; 0 to nsqd's max-req-timeout, 1 h by default.

        Raises:
            PublishError: If no nsqd confirmed it; the message may have arrived nevertheless.
        """
        if (ready := self._preparer.unchecked(topic, body, defer_s)) is not None:
            await reported(self._publish(topic, body, defer_s), (ready,))

    async def _publish(self, topic: str, body: bytes, defer_s: float) -> None:
        self._use_loop()
        if defer_s or not self._can_batch(body):  # MPUB cannot defer; one bad body fails it all
            await self._turn.after(topic, self._send_one(topic, body, defer_s))
        else:
            await self._turn.publish(topic, body)

    async def close(self) -> None:
        """Wait for publishes under way, then disconnect. Final."""
        self._use_loop()
        await asyncio.gather(self._turn.drain(), self._soon.drain())
        await self._publishers.close()

    def _begin(self) -> None:
        self._publishers = PublisherPool(
            connection_options(self._settings), publish_timeout_s=self._settings.publish_timeout_s
        )
        self._turn = PublishBatcher(self._send, wait_s=0.0)
        self._soon = PublishBatcher(self._send, wait_s=_SOON_S, on_end=count_published)

    def _use_loop(self) -> None:
        """Begin again, with new connections, if the event loop of the connections does not run any more."""
        if os.getpid() != self._pid:
            self._begin_in_child()
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and not self._publishers.is_closed:
            if self._loop.is_running():
                raise RuntimeError("the publisher is in use on another event loop; create one for each loop")
            self._turn.abandon()
            self._soon.abandon()
            self._publishers.abandon()
            self._begin()
        self._loop = loop

    def _begin_in_child(self) -> None:
        """Leave the connections and the tasks that await them to the parent process."""
        self._pid = os.getpid()
        if self._loop is None or self._publishers.is_closed:
            return
        _inherited.append((self._loop, self._turn, self._soon, self._publishers))
        self._publishers.abandon()
        self._loop = None
        self._begin()

    def _can_batch(self, body: object) -> bool:
        return isinstance(body, bytes) and 0 < len(body) <= self._max_msg_bytes

    async def _send(self, topic: str, groups: Groups) -> None:
        bodies = [body for group in groups for body in group]
        if len(bodies) == 1:
            await self._send_one(topic, bodies[0])
        else:
            await self._with_any(lambda address: self._publishers.publish_many(address, topic, bodies))

    async def _send_one(self, topic: str, body: bytes, defer_s: float = 0.0) -> None:
        await self._with_any(lambda address: self._publishers.publish(address, topic, body, defer_s=defer_s))

    async def _with_any(self, publish: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        *firsts, last = self._addresses
        for address in firsts:
            try:
                return await publish(address)
            except PublishError as error:
                if error.permanent:
                    raise
            if address == self._addresses[0]:  # else a concurrent publish has moved to the next nsqd already
                self._addresses.append(self._addresses.pop(0))
        return await publish(last)


def _failure_of(publish: "asyncio.Future[None]") -> BaseException | None:
    return asyncio.CancelledError() if publish.cancelled() else publish.exception()
