"""BlockingPublisher: publishes events from programs without an event loop."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from nsqkit.events.any_event import AnyEvent
from nsqkit.handler.extension import Extension
from nsqkit.publishing.publisher import Publisher
from nsqkit.settings.settings import Settings

T = TypeVar("T")


class BlockingPublisher:
    """Publishes events from code without an event loop, from any thread. A context manager.

    It runs an event loop in a separate thread, which the first publish starts. A child process that inherits
    it by a fork starts its own thread and connects again at its first publish; publishes under way stay with
    the parent process.

    Args:
        nsqd: ``host:port`` of one or more nsqd; by default the setting ``nsqd``.
        source: The ``source`` of envelopes; by default the setting ``service``.
        settings: Settings to use; by default read from the environment and the settings file.
        middleware: Extensions whose ``on_publish`` sees each message, outermost first; called in the
            thread of the loop.

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
        self._publisher = Publisher(nsqd, source=source, settings=settings, middleware=middleware)
        self._locks: dict[int, threading.Lock] = {}
        self._inherited: list[asyncio.AbstractEventLoop] = []  # Python warns when it collects them
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def publish(self, event: AnyEvent, *, topic: str | None = None, defer_s: float = 0.0) -> None:
        """Publish one event and wait for nsqd's OK; arguments and errors as ``Publisher.publish``."""
        self._wait(lambda: self._publisher.publish(event, topic=topic, defer_s=defer_s))

    def publish_many(self, events: Iterable[AnyEvent], *, topic: str | None = None) -> None:
        """Publish several events; arguments and errors as ``Publisher.publish_many``."""
        self._wait(lambda: self._publisher.publish_many(events, topic=topic))

    def publish_raw(self, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish bytes as they are; arguments and errors as ``Publisher.publish_raw``."""
        self._wait(lambda: self._publisher.publish_raw(topic, body, defer_s=defer_s))

    def close(self) -> None:
        """Wait for publishes under way, disconnect, and end the thread. A second call does nothing.

        In a child process that has not published, there is nothing to end.
        """
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        if self._loop is None or self._is_inherited:
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def _lock(self) -> threading.Lock:
        """The lock of this process: a fork may copy one that is held by a thread which it does not copy."""
        return self._locks.setdefault(os.getpid(), threading.Lock())

    @property
    def _is_inherited(self) -> bool:
        return os.getpid() != self._pid

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop of this process; the first call in each process starts it and its thread."""
        if self._loop is not None and not self._is_inherited:
            return self._loop
        if self._loop is not None:
            self._inherited.append(self._loop)
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nsqkit-publisher", daemon=True)
        self._thread.start()
        return self._loop

    async def _close(self) -> None:
        await self._publisher.close()
        # Other threads wait for these tasks, which cannot end once the loop has stopped.
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*under_way, return_exceptions=True)

    def _wait(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with self._lock:  # close waits for publishes that begin before it
            if self._is_closed:
                raise RuntimeError("the publisher is closed")
            future = asyncio.run_coroutine_threadsafe(begin(), self._running_loop())
        return future.result()
