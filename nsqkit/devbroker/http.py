"""The HTTP servers of the embedded broker: tornado around a table of routes. No topics here."""

import re
from urllib.parse import unquote

import orjson
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, stream_request_body

from nsqkit.devbroker.routes import Answer, ApiError, Request, Route, Routes

_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 400: "INVALID_REQUEST"}
_BROKEN_PATH = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MAX_HEADER_BYTES = 1024 * 1024
_MAX_DIGITS = 18
_IDLE_S = 300.0
_BODY_S = 60.0
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


def http_server(routes: Routes) -> HTTPServer:
    """Return a server of *routes*; it logs no requests and closes idle connections."""
    return HTTPServer(
        Application([(r".*", Endpoint, {"routes": routes})], log_function=lambda _handler: None),
        max_header_size=_MAX_HEADER_BYTES,
        idle_connection_timeout=_IDLE_S,
        body_timeout=_BODY_S,
    )


@stream_request_body
class Endpoint(RequestHandler):
    """The handler of every path of an HTTP interface."""

    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT", "OPTIONS")

    def initialize(self, routes: Routes) -> None:
        """Receive the routes, which the application passes to the handler of each request."""
        self._routes = routes
        self._body = bytearray()
        self._route: Route
        self._option = ""

    def set_default_headers(self) -> None:
        """Remove tornado's own headers; nsqd sends none of them."""
        self.clear_header("Server")
        self.clear_header("Content-Type")

    def prepare(self) -> None:
        """Find the route, and refuse a body whose declared size is too large before it is read."""
        if _BROKEN_PATH.search(self.request.path):
            self.set_status(400)
            self._reply("400 Bad Request", is_plain=True)
            return
        path = unquote(self.request.path)
        if "Origin" in self.request.headers and self.request.method not in _READS:
            self._refuse(ApiError(403, "NOT_FROM_A_WEB_PAGE"))  # browsers send it for any web site
            return
        try:
            self._route, self._option = self._routes.find(str(self.request.method), path)
            self._check_size(self._declared_bytes())
        except ApiError as error:
            self._redirect_or_refuse(path, error)

    def data_received(self, chunk: bytes) -> None:
        """Collect the body, and check the size of what has arrived, since a length may not be declared."""
        if self._finished:
            return
        self._body += chunk
        try:
            self._check_size(len(self._body))
        except ApiError as error:
            self._refuse(error)

    def get(self) -> None:
        """Answer a request whose body is complete."""
        try:
            answer = self._route.answer(Request(self.request.query, bytes(self._body), self._option))
        except ApiError as error:
            self._refuse(error)
        else:
            self._reply(answer, is_plain=self._route.is_plain)

    head = post = put = delete = patch = options = get

    def on_finish(self) -> None:
        """Free the body at once; the handler itself is in a reference cycle."""
        self._body.clear()

    on_connection_close = on_finish

    def compute_etag(self) -> None:
        """Send no ETag: nsqd does not."""

    def write_error(self, status_code: int, **_details: object) -> None:
        """Answer requests that tornado itself refuses as nsqd does."""
        self._refuse(ApiError(status_code, _CODES.get(status_code, "INTERNAL_ERROR")))

    def _redirect_or_refuse(self, path: str, error: ApiError) -> None:
        method = str(self.request.method)
        meant = self._routes.meant(method, path) if error.status == 404 else None  # noqa: PLR2004  not found
        if meant is not None:
            self.set_status(301 if method == "GET" else 307)
            self.set_header("Location", meant + "?" * bool(self.request.query) + self.request.query)
            self.finish()
        elif method == "OPTIONS" and error.allowed:
            self.set_header("Allow", ", ".join(error.allowed))
            self.finish()
        else:
            self._refuse(error)

    def _declared_bytes(self) -> int:
        """Return the declared size of the body; 0 for an invalid number, which tornado refuses."""
        said = self.request.headers.get("Content-Length", "0")
        return int(said) if said.isascii() and said.isdigit() and len(said) <= _MAX_DIGITS else 0

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._route.max_bytes:
            raise ApiError(413, self._route.too_big)

    def _reply(self, answer: Answer, *, is_plain: bool = False) -> None:
        if not is_plain:
            self.set_header("X-Nsq-Content-Type", "nsq; version=1.0")
        if not isinstance(answer, bytes | str):
            self.set_header("Content-Type", "application/json; charset=utf-8")
            answer = orjson.dumps(answer)
        elif answer:
            self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(answer)

    def _refuse(self, error: ApiError) -> None:
        self.set_status(error.status)
        if error.allowed:
            self.set_header("Allow", ", ".join(error.allowed))
        self._reply({"message": error.code})
