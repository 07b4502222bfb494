"""Idle: the end of a run with ``--exit-when-idle``, when the workers and nsqd have no message left."""

from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import NamedTuple

from nsqkit.errors import NsqkitError, SettingsError
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.idle import Unhandled, unhandled, wait_idle
from nsqkit.nsq.nodes import http_addresses
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs


class Workload(NamedTuple):
    """The messages of a worker, or of several.

    Args:
        held: Messages in flight.
        next_requeue_s: Seconds until the first of the deferred messages is due; None if none is known.
        is_blocked: Whether a handler's intake is stopped, so that its messages are not handled.
    """

    held: int
    next_requeue_s: float | None = None
    is_blocked: bool = False


class IdleWatch:
    """Waits until all messages are handled.

    Args:
        settings: Settings that name the nsqd.
        subscriptions: Returns the (topic, channel) pairs of the handlers.
        workload: Returns the present workload; None if it is not known.
    """

    def __init__(
        self,
        settings: Settings,
        subscriptions: Callable[[], Collection[tuple[str, str]]],
        workload: Callable[[], Awaitable[Workload | None]],
    ) -> None:
        self._settings = settings
        self._subscriptions = subscriptions
        self._workload = workload
        self._answered: set[str] = set()
        self._is_blocked = False

    async def wait(self) -> bool:
        """Wait until three checks in a row find no message queued, deferred or in flight.

        Returns:
            True when idle; False as soon as a handler is blocked, because its messages are not handled.

        Raises:
            SettingsError: If an nsqd does not answer over HTTP and never did.
        """
        await wait_idle(self.is_empty, report=self.report, gives_up=lambda: self._is_blocked)
        return not self._is_blocked

    async def is_empty(self) -> bool:
        """Return whether one check finds no message left."""
        workload = await self._workload()
        self._is_blocked = workload is not None and workload.is_blocked
        if workload is None or workload.held or workload.is_blocked:
            return False
        found = await self._unhandled()
        return found is not None and not any(found)

    async def report(self) -> None:
        """Log the messages that are left."""
        queued, in_flight, deferred = await self._unhandled() or (None, None, None)
        held, next_s, _ = await self._workload() or (None, None, None)
        logs.get_logger().info(
            "waiting_until_idle",
            held=held,
            queued=queued,
            in_flight=in_flight,
            deferred=deferred,
            next_requeue_s=None if next_s is None else round(next_s),
        )

    async def _unhandled(self) -> Unhandled | None:
        """Return the messages of the handlers' channels on all nsqd; None if their state is not known."""
        wanted = frozenset(self._subscriptions())
        found = []
        for address in await http_addresses(self._settings):
            try:
                left = await NsqdHttp(address).read_stats(partial(unhandled, subscriptions=wanted))
            except NsqkitError as error:
                if address in self._answered:  # it may be busy or restarting: ask again
                    return None
                raise SettingsError(
                    f"{error}; --exit-when-idle needs its HTTP address: --nsqd-http"
                ) from error
            self._answered.add(address)
            found.append(left)
        return Unhandled(*map(sum, zip(*found, strict=True))) if found else None
