"""BlockingPublisher: publishes events from programs without an event loop."""

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from nsqkit.handler.extension import Extension
from nsqkit.publishing.publisher import Publisher
from nsqkit.settings.settings import Settings

T = TypeVar("T")


class BlockingPublisher:
    """Publishes events from code without an event loop, from any thread. A context manager.

    It runs an event loop in a separate thread. Create it after forking.

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
        self._closing = threading.Lock()
        self._is_closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nsqkit-publisher", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def publish(self, event: object, *, topic: str | None = None, defer_s: float = 0.0) -> None:
        """Publish one event and wait for nsqd's OK; arguments and errors as ``Publisher.publish``."""
        self._wait(self._publisher.publish(event, topic=topic, defer_s=defer_s))

    def publish_many(self, events: Iterable[object], *, topic: str | None = None) -> None:
        """Publish several events; arguments and errors as ``Publisher.publish_many``."""
        self._wait(self._publisher.publish_many(events, topic=topic))

    def publish_raw(self, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish bytes as they are; arguments and errors as ``Publisher.publish_raw``."""
        self._wait(self._publisher.publish_raw(topic, body, defer_s=defer_s))

    def close(self) -> None:
        """Wait for publishes under way, disconnect, and end the thread. A second call does nothing."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        await self._publisher.close()
        # Other threads wait for these tasks, which cannot end once the loop has stopped.
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*under_way, return_exceptions=True)

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with self._closing:  # close waits for publishes that begin before it
            if self._is_closed:
                coroutine.close()
                raise RuntimeError("the publisher is closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result()
