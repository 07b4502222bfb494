"""The broker's HTTP server: tornado around the endpoints of ``api``. It knows no topics."""

from urllib.parse import parse_qsl

import orjson
from tornado.web import Application, RequestHandler, stream_request_body

from nsqkit.devbroker.api import Answer, Api, ApiError, Request, Route

_CONFIG = "/config/"
_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


def application(api: Api) -> Application:
    """Return the tornado application that serves *api*; it logs no requests."""
    return Application([(r".*", Endpoint, {"api": api})], log_function=lambda _handler: None)


@stream_request_body
class Endpoint(RequestHandler):
    """Any path of nsqd's HTTP interface."""

    def initialize(self, api: Api) -> None:
        """Take what the application passes to each request's handler."""
        self._api = api
        self._body = bytearray()
        self._route: Route

    def set_default_headers(self) -> None:
        """Answer with nsqd's headers."""
        self.clear_header("Server")
        self.set_header("X-Nsq-Content-Type", "nsq; version=1.0")

    def prepare(self) -> None:
        """Find the route, and refuse a body that is declared too large before it is read."""
        try:
            self._route = self._find_route()
            self._check_size(int(self.request.headers.get("Content-Length", "0")))
        except ApiError as error:
            self._refuse(error)

    def data_received(self, chunk: bytes) -> None:
        """Collect the body; one without a declared length is measured as it comes."""
        if self._finished:
            return
        self._body += chunk
        try:
            self._check_size(len(self._body))
        except ApiError as error:
            self._refuse(error)

    def get(self) -> None:
        """Answer a request whose body is complete."""
        arguments: dict[str, str] = {}
        for name, value in parse_qsl(self.request.query, keep_blank_values=True):
            arguments.setdefault(name, value)
        try:
            self._reply(self._route.answer(Request(arguments, bytes(self._body))))
        except ApiError as error:
            self._refuse(error)

    head = post = put = delete = patch = options = get

    def compute_etag(self) -> None:
        """Send no ETag: nsqd does not."""

    def write_error(self, status_code: int, **_details: object) -> None:
        """Answer what tornado itself refuses in nsqd's form."""
        self._refuse(ApiError(status_code, _CODES.get(status_code, "INTERNAL_ERROR")))

    def _find_route(self) -> Route:
        path = self.request.path
        if path.startswith(_CONFIG) and len(path) > len(_CONFIG):
            option = path.removeprefix(_CONFIG)
            route = Route("GET", lambda _request: self._api.config(option), 0)
        elif path in self._api.routes:
            route = self._api.routes[path]
        else:
            raise ApiError(404, "NOT_FOUND")
        if self.request.method != route.method:
            self.set_header("Allow", route.method)
            raise ApiError(405, "METHOD_NOT_ALLOWED")
        return route

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._route.max_bytes:
            raise ApiError(413, self._route.too_big)

    def _reply(self, answer: Answer) -> None:
        if isinstance(answer, bytes | str):
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(answer)
        else:
            self.set_header("Content-Type", "application/json; charset=utf-8")
            self.finish(orjson.dumps(answer))

    def _refuse(self, error: ApiError) -> None:
        self.set_status(error.status)
        self._reply({"message": error.code})
