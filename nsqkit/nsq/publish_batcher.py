"""PublishBatcher: joins concurrent publishes to a topic into one command."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from nsqkit.errors import PublishError
from nsqkit.policy.refusal import Fault, fault_behind

MAX_BYTES = 262_144
"""Maximum bytes of one command: larger ones are not faster. nsqd accepts 5 MiB (max-body-size)."""
MAX_MESSAGES = 1000


Groups = Sequence[Sequence[bytes]]
"""The bodies of one command, by caller: one or more groups of one or more bodies."""


class _Command:
    """The groups of one command, and the futures of their callers."""

    __slots__ = ("confirmed", "groups", "n_bodies", "n_bytes")

    def __init__(self) -> None:
        self.groups: list[Sequence[bytes]] = []
        self.confirmed: list[asyncio.Future[None]] = []
        self.n_bodies = self.n_bytes = 0


class PublishBatcher:
    """Collects bodies per topic, and sends them when the command is full or the wait is over.

    If nsqd refuses a command of several callers, each caller's bodies are sent again by themselves.

    Args:
        send: Publishes groups of bodies to a topic in one command, all or none.
        wait_s: How long the first body waits for others, in seconds; 0 for one turn of the event loop.
        on_end: Called once for each body that was sent, or for several together, with their topic, the error
            if nsqd has not confirmed them, and their number.
    """

    def __init__(
        self,
        send: Callable[[str, Groups], Awaitable[None]],
        wait_s: float,
        on_end: Callable[[str, BaseException | None, int], None] = lambda *_: None,
    ) -> None:
        self._send = send
        self._wait_s = wait_s
        self._on_end = on_end
        self._commands: dict[str, _Command] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._sent: set[tuple[str, _Command]] = set()
        self._has_lone = False

    def publish(self, topic: str, body: bytes) -> Awaitable[None]:
        """Publish one body: at once if no other publish is under way, else together with others."""
        if self._has_lone or self._under_way or self._commands:
            return self.add(topic, (body,))
        return self._send_lone(topic, body)

    def add(self, topic: str, bodies: Sequence[bytes]) -> "asyncio.Future[None]":
        """Add bodies that leave in one command.

        Returns:
            A future that is done at nsqd's OK, or fails with the publish.
        """
        loop = asyncio.get_running_loop()
        confirmed: asyncio.Future[None] = loop.create_future()
        command = self._commands.get(topic)
        if command is None:
            command = self._commands[topic] = _Command()
            self._timer = self._timer or loop.call_later(self._wait_s, self.flush)
        command.groups.append(bodies)
        command.confirmed.append(confirmed)
        command.n_bodies += len(bodies)
        command.n_bytes += sum(map(len, bodies))
        if command.n_bytes >= MAX_BYTES or command.n_bodies >= MAX_MESSAGES:
            self._send_command(topic)
        return confirmed

    def after(self, topic: str, publish: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Start a separate publish after the bodies collected for its topic, so that the order is kept."""
        self._send_command(topic)
        return self._begin(publish)

    def flush(self) -> None:
        """Send all collected bodies now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for topic in tuple(self._commands):
            self._send_command(topic)

    async def drain(self) -> None:
        """Send all collected bodies, and wait until every publish is confirmed or has failed."""
        self.flush()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def abandon(self) -> None:
        """Fail what is not confirmed yet, since the event loop has ended. Final."""
        for topic, command in (*self._commands.items(), *self._sent):
            with suppress(RuntimeError):  # no task of the closed loop awaits it any more
                _resolve(command.confirmed, _loop_ended(topic))

    async def _send_lone(self, topic: str, body: bytes) -> None:
        self._has_lone = True
        try:
            await self._send(topic, [(body,)])
        finally:
            self._has_lone = False

    def _send_command(self, topic: str) -> None:
        command = self._commands.pop(topic, None)
        if command is not None:
            sent = topic, command
            self._sent.add(sent)
            task = self._begin(self._send_and_confirm(topic, command.groups, command.confirmed))
            task.add_done_callback(lambda _: self._sent.discard(sent))

    def _begin(self, publish: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(publish)  # tasks start in order of creation, so commands keep their order
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _send_and_confirm(
        self, topic: str, groups: Groups, confirmed: "Sequence[asyncio.Future[None]]"
    ) -> None:
        failure: Exception | None = None
        messages = sum(map(len, groups))
        try:
            await self._send(topic, groups)
        except Exception as error:  # noqa: BLE001 - every caller receives the error
            failure = error
        except asyncio.CancelledError:
            failure = _loop_ended(topic)
            self._on_end(topic, failure, messages)
            _resolve(confirmed, failure)
            raise
        if len(groups) > 1 and failure is not None and _is_of_some(failure):
            # nsqd accepted none and does not say which body is at fault, so each group is sent separately.
            pairs = zip(groups, confirmed, strict=True)
            await asyncio.gather(*(self._send_and_confirm(topic, [group], [each]) for group, each in pairs))
        else:
            self._on_end(topic, failure, messages)
            _resolve(confirmed, failure)


def _is_of_some(failure: Exception) -> bool:
    """Return whether a refusal may be for some bodies only, and not for their topic."""
    if not isinstance(failure, PublishError):
        return False
    return failure.permanent and fault_behind(failure) is not Fault.SETUP


def _resolve(confirmed: "Sequence[asyncio.Future[None]]", failure: Exception | None) -> None:
    for each in confirmed:
        if each.done():  # its caller was cancelled
            continue
        if failure is None:
            each.set_result(None)
        else:
            each.set_exception(_copy_of(failure))


def _loop_ended(topic: str) -> PublishError:
    reason = "the event loop ended before nsqd confirmed it"
    return PublishError(topic, "", reason, False)  # noqa: FBT003 - a field, not a flag


def _copy_of(failure: Exception) -> Exception:
    if not isinstance(failure, PublishError):
        return failure
    copy = PublishError(*failure.args)  # a caller that raises it or adds a note must not change the others
    copy.__cause__ = failure.__cause__
    return copy
