"""Host names: looks them up off the event loop, in threads that nothing else uses. It caches no address."""

import asyncio
import contextlib
import ipaddress
import os
import socket
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any, Final

from tornado.netutil import Resolver

_MOST_THREADS: Final = 32

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


class _LookUps:
    """The look-ups of this process, one at a time for each name.

    A name server that does not answer occupies a thread for up to a minute. The event loop's own threads
    serve other parts, and Python waits for them at the end; these threads are daemons.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin again: a forked process has none of the threads."""
        self._lock = threading.Lock()
        self._pending: dict[str, Future[list[AddressInfo]]] = {}
        self._waiting: deque[str] = deque()
        self._threads = 0

    def start(self, name: str) -> "Future[list[AddressInfo]]":
        """Return the look-up of a name that is in progress, or a new one."""
        with self._lock:
            if (pending := self._pending.get(name)) is not None:
                return pending
            future = self._pending[name] = Future()
            self._waiting.append(name)
            if self._threads < _MOST_THREADS:
                self._start_thread()
            if not self._threads:
                self._waiting.remove(name)
                self._pending.pop(name).set_exception(OSError("no thread can be started to look it up"))
            return future

    def _start_thread(self) -> None:
        with contextlib.suppress(RuntimeError):  # the system allows no further thread
            threading.Thread(target=self._run, name="nsqkit-names", daemon=True).start()
            self._threads += 1

    def _run(self) -> None:
        while (name := self._next()) is not None:
            found, failure = _looked_up(name)
            with self._lock:
                future = self._pending.pop(name)
            if failure is None:
                future.set_result(found)
            else:
                future.set_exception(failure)

    def _next(self) -> str | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None


def _looked_up(name: str) -> tuple[list[AddressInfo], OSError | None]:
    try:
        return [*socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)], None
    except UnicodeError:  # an empty label, or one over 63 characters
        return [], OSError(f"{name!r} is not a host name")
    except OSError as error:
        return [], error


_look_ups = _LookUps()
os.register_at_fork(after_in_child=_look_ups.clear)


async def resolve(host: str, port: int) -> list[AddressInfo]:
    """Return the addresses of a host, as of ``socket.getaddrinfo``.

    An IP address needs no look-up. The callers that want one name share its look-up, and a cancelled caller
    cancels nobody else.

    Args:
        host: A host name or an IP address, without brackets.
        port: TCP port of the addresses, 1 to 65535.

    Raises:
        OSError: If the name is not known, or is not a host name.
    """
    if _is_literal(host):
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)]
    look_up = asyncio.wrap_future(_look_ups.start(host))
    look_up.add_done_callback(lambda done: done.cancelled() or done.exception())  # also if nobody waits then
    found = await asyncio.shield(look_up)
    return [(family, kind, proto, name, (at[0], port, *at[2:])) for family, kind, proto, name, at in found]


class NamesResolver(Resolver):
    """The same look-ups for tornado's HTTP client, which would use the event loop's own threads."""

    async def resolve(  # noqa: D102 - tornado's
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        found = await resolve(host, port)
        return [(each[0], each[4]) for each in found if family in {socket.AF_UNSPEC, each[0]}]


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
