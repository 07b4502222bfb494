"""HTTP server: few and short connections with small requests, whatever the clients do. It knows no pages."""

import asyncio
from typing import TYPE_CHECKING, cast

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection, HTTPInputError, HTTPMessageDelegate
from tornado.iostream import IOStream
from tornado.web import Application

if TYPE_CHECKING:
    from tornado.http1connection import HTTP1ServerConnection

_MOST_CONNECTIONS = 64
_CONNECTION_S = 30.0
_MAX_BODY_BYTES = 4096
_MAX_HEADER_BYTES = 16_384
_BUFFER_BYTES = 65_536


class _Ended(HTTPMessageDelegate):
    """Ends the loop of a closed connection: tornado would still serve the requests in its buffer."""

    def headers_received(self, start_line: object, headers: object) -> None:  # noqa: ARG002 - tornado's
        raise HTTPInputError("one request for each connection")


class BoundedServer(HTTPServer):
    """An HTTP server for an application.

    A connection carries one request, and lasts at most 30 s. If there are 64, a new one closes the oldest: a
    client that opens many cannot keep others out, or use up the file descriptors of the process. A header has
    at most 16 KiB, and a body 4 KiB.

    Args:
        application: The pages.
    """

    def initialize(self, application: Application) -> None:  # type: ignore[override]  # tornado's constructor
        """Set the limits; tornado calls this."""
        super().initialize(
            application,
            no_keep_alive=True,
            max_header_size=_MAX_HEADER_BYTES,
            max_body_size=_MAX_BODY_BYTES,
            max_buffer_size=_BUFFER_BYTES,
        )
        self._streams: dict[IOStream, asyncio.TimerHandle] = {}  # the oldest first

    def handle_stream(self, stream: IOStream, address: tuple[object, ...]) -> None:
        """Serve a new connection; tornado calls this."""
        if len(self._streams) >= _MOST_CONNECTIONS:
            self._close(next(iter(self._streams)))
        self._streams[stream] = asyncio.get_running_loop().call_later(_CONNECTION_S, self._close, stream)
        super().handle_stream(stream, address)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """Return what takes the next request of a connection; tornado calls this."""
        if cast("HTTP1ServerConnection", server_conn).stream.closed():
            return _Ended()
        return super().start_request(server_conn, request_conn)

    def on_close(self, server_conn: object) -> None:
        """Forget a connection that has ended; tornado calls this."""
        self._close(cast("HTTP1ServerConnection", server_conn).stream)
        super().on_close(server_conn)

    async def close_all_connections(self) -> None:
        """Close all connections at once, whatever they do."""
        for stream in tuple(self._streams):
            self._close(stream)
        await super().close_all_connections()

    def _close(self, stream: IOStream) -> None:
        if (timer := self._streams.pop(stream, None)) is not None:
            timer.cancel()
        stream.close()
