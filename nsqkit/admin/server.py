"""Server: the HTTP server of the admin port; the pages answer.

It runs on the worker's event loop. So if the loop is blocked, it does not answer, and a liveness probe fails.
"""

import asyncio
import errno
import socket
from collections.abc import Sequence

from tornado.web import Application, RequestHandler

from nsqkit.admin.access import Access
from nsqkit.admin.handlers import Handlers
from nsqkit.admin.http_server import BoundedServer
from nsqkit.admin.pages import (
    HandlersPage,
    Health,
    HealthPage,
    IntakePage,
    MetricsPage,
    Missing,
    ReadyPage,
)
from nsqkit.errors import SettingsError
from nsqkit.telemetry.loop_lag import LoopLag
from nsqkit.telemetry.metrics import Metrics

_BACKLOG = 128

Route = tuple[str, type[RequestHandler], dict[str, object]]
"""A path, its page, and the arguments of the page's ``initialize``."""


class AdminServer:
    """Serves metrics and health, and pauses and resumes handlers.

    Args:
        metrics: The metrics for /metrics.
        health: The process's health for /healthz and /readyz.
        host: Address to listen on.
        port: Port to listen on, 0 to 65535; 0 takes a free one.
        handlers: The worker's handlers for /handlers; None if the process has none.
        access: Decides which requests are answered.
        more_pages: Pages of other parts, as tornado takes them.
    """

    def __init__(
        self,
        metrics: Metrics,
        health: Health,
        host: str,
        port: int,
        *,
        handlers: Handlers | None = None,
        access: Access,
        more_pages: Sequence[Route] = (),
    ) -> None:
        self._host = host
        self._port = port
        self._access = access
        self._lag = LoopLag(metrics.event_loop_lag)
        pages: list[Route] = [
            ("/metrics", MetricsPage, {"metrics": metrics}),
            ("/healthz", HealthPage, {"health": health}),
            ("/readyz", ReadyPage, {"health": health}),
            *more_pages,
        ]
        if handlers is not None:
            pages.append(("/handlers", HandlersPage, {"handlers": handlers}))
            pages.append(("/handlers/([^/]+)/(pause|resume)", IntakePage, {"handlers": handlers}))
        self._server = BoundedServer(
            Application(
                pages,
                default_handler_class=Missing,
                log_function=lambda _: None,  # tornado's own would log a line for each refused request
                access=access,
            )
        )

    async def start(self) -> int:
        """Listen, and start to sample the event loop's lag.

        Returns:
            The port that it listens on.

        Raises:
            SettingsError: If the port is in use, or the machine does not have the address.
        """
        listening = await self._listening()
        self._access.listen(listening.getsockname()[0])
        self._server.add_socket(listening)
        self._lag.start()
        bound: int = listening.getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Close the port and the connections; may be called twice, and before start."""
        self._lag.stop()
        self._server.stop()
        await self._server.close_all_connections()

    async def _listening(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]  # only one: each family would get a free port of its own
            listening = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        except OSError as error:
            raise SettingsError(_refusal(self._host, self._port, error)) from error
        listening.settimeout(0)  # tornado accepts until it would block
        return listening


def _refusal(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"admin_port={port} is in use on {host}: choose another with --admin-port, or 0 for none"
    if error.errno == errno.EACCES:
        return f"admin_port={port} needs more rights: choose one above 1023 with --admin-port, or 0 for none"
    return f"cannot listen on admin_host={host!r}: {error.strerror or error}"
