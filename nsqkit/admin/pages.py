"""The pages of the admin server; each asks, or tells, and writes down the answer."""

from dataclasses import asdict
from typing import Protocol

from tornado.web import RequestHandler

from nsqkit.admin.handlers import Handlers, HandlerState
from nsqkit.telemetry.metrics import CONTENT_TYPE, Metrics

MAX_PAUSE_S = 7 * 86400.0
"""A week. A pause without an end is asked for without a number."""
_TEXT = "text/plain; charset=utf-8"


class Health(Protocol):
    """What the server asks the worker."""

    def live(self) -> bool:
        """Whether the process does its work, however well; False asks for a restart."""
        ...

    def problems(self) -> tuple[str, ...]:
        """Why the worker is not ready, one line each; empty when it is."""
        ...


class Page(RequestHandler):
    """What all pages have in common."""

    def set_default_headers(self) -> None:
        """Say that it is text, and as it is now."""
        self.clear_header("Server")
        self.set_header("Content-Type", _TEXT)
        self.set_header("Cache-Control", "no-store")

    def write_error(self, status_code: int, **_kwargs: object) -> None:
        """Answer with one line."""
        self.finish(f"{status_code}: {self._reason}; there are /metrics, /healthz, /readyz and /handlers\n")


class Missing(Page):
    """Any other path."""

    def prepare(self) -> None:
        """Answer 404, whatever the method."""
        self.send_error(404)


class MetricsPage(Page):
    """Everything that is counted, for Prometheus."""

    def initialize(self, metrics: Metrics) -> None:
        """Take what the page shows."""
        self._metrics = metrics

    def get(self) -> None:
        """Show it."""
        self.set_header("Content-Type", CONTENT_TYPE)
        self.write(self._metrics.exposition())


class HealthPage(Page):
    """Whether the process lives."""

    def initialize(self, health: Health) -> None:
        """Take whom the page asks."""
        self._health = health

    def get(self) -> None:
        """Answer 200 or 503."""
        live = self._health.live()
        self.set_status(200 if live else 503)
        self.write("ok\n" if live else "not live\n")


class ReadyPage(Page):
    """Whether the worker is ready, and why it is not."""

    def initialize(self, health: Health) -> None:
        """Take whom the page asks."""
        self._health = health

    def get(self) -> None:
        """Answer 200, or 503 and a line per problem."""
        problems = self._health.problems()
        self.set_status(503 if problems else 200)
        if "application/json" in self.request.headers.get("Accept", ""):
            self.write({"ready": not problems, "problems": list(problems)})
        else:
            self.write("\n".join(problems or ("ready",)) + "\n")


class HandlersPage(Page):
    """Every handler as it runs now."""

    def initialize(self, handlers: Handlers) -> None:
        """Take whom the page asks."""
        self._handlers = handlers

    def get(self) -> None:
        """Show them as JSON."""
        self.write({"handlers": [_shown(each) for each in self._handlers.handler_states()]})


class IntakePage(Page):
    """A handler's intake: paused and resumed.

    A browser says by ``Origin`` that it sends on behalf of some site; such requests are refused, as nobody
    who looks at a web page means to stop a worker.
    """

    def initialize(self, handlers: Handlers) -> None:
        """Take whom the page tells."""
        self._handlers = handlers

    def post(self, name: str, command: str) -> None:
        """Pause or resume, and show the handler; a refusal is ``{"message": …}``."""
        if "Origin" in self.request.headers:
            self._refuse(403, "not from a web page: the request has an Origin")
            return
        if command == "resume":
            known = self._handlers.resume_handler(name)
        else:
            try:
                for_s = _seconds(self.get_query_argument("for_s", None))
            except ValueError as error:
                self._refuse(400, str(error))
                return
            known = self._handlers.pause_handler(name, for_s)
        states = self._handlers.handler_states()
        if known:
            self.write({"handlers": [_shown(each) for each in states if each.name == name]})
        else:
            names = ", ".join(each.name for each in states) or "none"
            self._refuse(404, f"there is no handler {name!r} here; there are: {names}")

    def _refuse(self, status: int, message: str) -> None:
        self.set_status(status)
        self.write({"message": message})


def _shown(state: HandlerState) -> dict[str, object]:
    return {**asdict(state), "ready": not state.problems}


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        for_s = float(text)
    except ValueError:
        for_s = 0.0
    if not 0 < for_s <= MAX_PAUSE_S:
        raise ValueError(f"for_s={text!r}: give seconds above 0, at most {MAX_PAUSE_S:.0f}")
    return for_s
