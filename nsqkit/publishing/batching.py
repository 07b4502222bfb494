"""PublishBatcher: joins bodies published at the same time into one command per topic."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from nsqkit.errors import PublishError

MAX_BYTES = 262_144
"""nsqd takes 5 MiB in one command (its max-body-size); more than this at a time gains nothing."""
MAX_MESSAGES = 1000


class _Command:
    """The bodies of one command, and the futures of their callers."""

    __slots__ = ("bodies", "confirmed", "n_bytes")

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.confirmed: list[asyncio.Future[None]] = []
        self.n_bytes = 0


class PublishBatcher:
    """Collects bodies per topic, and sends a topic's bodies when they are enough or have waited long enough.

    Args:
        send: Publishes bodies to a topic, all or none.
        wait_s: How long the first body waits for others, in seconds; 0 for one turn of the event loop.
    """

    def __init__(self, send: Callable[[str, Sequence[bytes]], Awaitable[None]], wait_s: float) -> None:
        self._send = send
        self._wait_s = wait_s
        self._commands: dict[str, _Command] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._has_lone = False

    def publish(self, topic: str, body: bytes) -> Awaitable[None]:
        """Publish one body: at once where nothing else is under way, else together with others."""
        if self._has_lone or self._under_way or self._commands:
            return self.add(topic, body)
        return self._alone(topic, body)

    def add(self, topic: str, body: bytes) -> "asyncio.Future[None]":
        """Take one body, and return a future that is done when nsqd has it, or fails as the publish does."""
        loop = asyncio.get_running_loop()
        confirmed: asyncio.Future[None] = loop.create_future()
        command = self._commands.get(topic)
        if command is None:
            command = self._commands[topic] = _Command()
            self._timer = self._timer or loop.call_later(self._wait_s, self.flush)
        command.bodies.append(body)
        command.confirmed.append(confirmed)
        command.n_bytes += len(body)
        if command.n_bytes >= MAX_BYTES or len(command.bodies) >= MAX_MESSAGES:
            self._leave(topic)
        return confirmed

    def after(self, topic: str, publish: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Begin a publish of its own behind what is here for its topic."""
        self._leave(topic)
        return self._begin(publish)

    def flush(self) -> None:
        """Send what is here now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for topic in tuple(self._commands):
            self._leave(topic)

    async def drain(self) -> None:
        """Send what is here, and wait until all that was taken is confirmed or has failed."""
        self.flush()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _alone(self, topic: str, body: bytes) -> None:
        self._has_lone = True
        try:
            await self._send(topic, [body])
        finally:
            self._has_lone = False

    def _leave(self, topic: str) -> None:
        command = self._commands.pop(topic, None)
        if command is not None:
            self._begin(self._see_through(topic, command.bodies, command.confirmed))

    def _begin(self, publish: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(publish)  # tasks begin in their order, and so commands keep it
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _see_through(
        self, topic: str, bodies: Sequence[bytes], confirmed: "Sequence[asyncio.Future[None]]"
    ) -> None:
        failure: Exception | None = None
        try:
            await self._send(topic, bodies)
        except Exception as error:  # noqa: BLE001 - whatever it is, every caller gets it
            failure = error
        if isinstance(failure, PublishError) and failure.permanent and len(bodies) > 1:
            # Who is to blame is not said, and none has arrived: each gets an answer of its own.
            pairs = zip(bodies, confirmed, strict=True)
            await asyncio.gather(*(self._see_through(topic, [body], [each]) for body, each in pairs))
        else:
            _tell(confirmed, failure)


def _tell(confirmed: "Sequence[asyncio.Future[None]]", failure: Exception | None) -> None:
    for each in confirmed:
        if each.done():  # whoever asked has given up
            continue
        if failure is None:
            each.set_result(None)
        else:
            each.set_exception(_own(failure))


def _own(failure: Exception) -> Exception:
    if not isinstance(failure, PublishError):
        return failure
    own = PublishError(*failure.args)  # whoever raises it, or adds a note, changes only this one
    own.__cause__ = failure.__cause__
    return own
