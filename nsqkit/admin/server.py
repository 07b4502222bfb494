"""The admin server: /metrics, /healthz and /readyz on a port of their own; it changes nothing.

It answers from the worker's event loop, so a loop that is stuck answers nothing: that is what a liveness
probe is for.
"""

import asyncio
import errno
import socket
from typing import Protocol

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from nsqkit.admin.loop_lag import LoopLag
from nsqkit.metrics import CONTENT_TYPE, Metrics
from nsqkit.policy.errors import SettingsError

_BACKLOG = 128
_TEXT = "text/plain; charset=utf-8"


class Health(Protocol):
    """What the server asks the worker."""

    def live(self) -> bool:
        """Whether the process does its work, however well; False asks for a restart."""
        ...

    def problems(self) -> tuple[str, ...]:
        """Why the worker is not ready, one line each; empty when it is."""
        ...


class AdminServer:
    """Serves metrics and health.

    Args:
        metrics: What /metrics shows.
        health: Who is asked by /healthz and /readyz.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
    """

    def __init__(self, metrics: Metrics, health: Health, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._lag = LoopLag(metrics.event_loop_lag)
        self._server = HTTPServer(
            Application(
                [
                    ("/metrics", _MetricsPage, {"metrics": metrics}),
                    ("/healthz", _HealthPage, {"health": health}),
                    ("/readyz", _ReadyPage, {"health": health}),
                ],
                default_handler_class=_Missing,
            ),
        )

    async def start(self) -> int:
        """Listen, and begin to sample the event loop's lag.

        Returns:
            The port.

        Raises:
            SettingsError: If the port is taken or the address is not one of this machine's.
        """
        listening = await self._listening()
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
            family, _, _, _, address = found[0]  # one only: two families would get two different free ports
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
    return f"admin_host={host!r} cannot be listened on: {error.strerror or error}"


class _Page(RequestHandler):
    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Content-Type", _TEXT)
        self.set_header("Cache-Control", "no-store")

    def write_error(self, status_code: int, **_kwargs: object) -> None:
        self.finish(f"{status_code}: {self._reason}; there are /metrics, /healthz and /readyz\n")


class _Missing(_Page):
    def prepare(self) -> None:
        self.send_error(404)


class _MetricsPage(_Page):
    def initialize(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE)
        self.write(self._metrics.exposition())


class _HealthPage(_Page):
    def initialize(self, health: Health) -> None:
        self._health = health

    def get(self) -> None:
        live = self._health.live()
        self.set_status(200 if live else 503)
        self.write("ok\n" if live else "not live\n")


class _ReadyPage(_Page):
    def initialize(self, health: Health) -> None:
        self._health = health

    def get(self) -> None:
        problems = self._health.problems()
        self.set_status(503 if problems else 200)
        if "application/json" in self.request.headers.get("Accept", ""):
            self.write({"ready": not problems, "problems": list(problems)})
        else:
            self.write("\n".join(problems or ("ready",)) + "\n")
