"""Pages: the paths of the admin server. Each calls the worker once and writes the answer."""

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, TypeVar

from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from nsqkit.admin.handlers import Handlers, HandlerState
from nsqkit.policy.peer_text import peer_text
from nsqkit.policy.redaction import redact
from nsqkit.telemetry.metrics import Format, Metrics

if TYPE_CHECKING:
    from nsqkit.admin.access import Access

T = TypeVar("T")
MAX_PAUSE_S = 7 * 86400.0
"""A week. For a pause without an end, leave the number out."""
_MOST_PROBLEMS = 100
_TEXT = "text/plain; charset=utf-8"


class Health(Protocol):
    """The health of a worker, or of several processes, as the admin server needs it."""

    def faults(self) -> tuple[str, ...] | Awaitable[tuple[str, ...]]:
        """Return why only a restart helps, one line each; empty if the process is live."""
        ...

    def problems(self) -> tuple[str, ...] | Awaitable[tuple[str, ...]]:
        """Return why the worker is not ready, one line each; empty if it is ready."""
        ...


class Page(RequestHandler):
    """A page: headers, refusals and errors that all of them share.

    Attributes:
        is_health: Whether it is answered without a token.
        method: The one method that it answers.
    """

    is_health = False
    method = "GET"

    def set_default_headers(self) -> None:
        """Declare plain text, which must neither be cached nor be taken for anything else."""
        self.clear_header("Server")
        self.set_header("Content-Type", _TEXT)
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def prepare(self) -> None:
        """Refuse a request that :class:`nsqkit.admin.access.Access` does not let in."""
        access: Access = self.settings["access"]
        if (refusal := access.refusal(self.request, is_health=self.is_health)) is not None:
            if refusal.status == HTTPStatus.UNAUTHORIZED:
                self.set_header("WWW-Authenticate", 'Bearer realm="nsqkit"')
            self.refuse(*refusal)

    def refuse(self, status: int, message: str) -> None:
        """Answer with an error status and one line, and finish."""
        self.set_status(status)
        self.finish(f"{status}: {message}\n")

    def write_error(self, status_code: int, **_kwargs: object) -> None:
        """Answer with one line; for a wrong method name the right one."""
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", self.method)
        self.finish(f"{status_code}: {self._reason}; see /metrics, /healthz, /readyz and /handlers\n")


class Missing(Page):
    """The answer to every other path."""

    def prepare(self) -> None:
        """Answer 404 to any method."""
        super().prepare()
        if not self._finished:
            self.send_error(404)


class MetricsPage(Page):
    """All metrics, in Prometheus' text format or OpenMetrics."""

    def initialize(self, metrics: Metrics) -> None:
        """Keep the metrics to show."""
        self._metrics = metrics

    async def get(self) -> None:
        """Write the metrics in parts, since those of hundreds of handlers would block the event loop."""
        form = Format.accepted(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", form.value)
        with contextlib.suppress(StreamClosedError):  # the client is gone
            for part in self._metrics.exposition(form):
                self.write(part)
                await self.flush()
                await asyncio.sleep(0)


class HealthPage(Page):
    """Whether the process is live."""

    is_health = True

    def initialize(self, health: Health) -> None:
        """Keep the worker's health."""
        self._health = health

    async def get(self) -> None:
        """Answer 200 if live, else 503 with a line for each fault."""
        faults = _bounded(await _answer(self._health.faults()))
        self.set_status(503 if faults else 200)
        self.write("\n".join(faults or ("ok",)) + "\n")


class ReadyPage(Page):
    """Whether the worker is ready, and if not, why."""

    is_health = True

    def initialize(self, health: Health) -> None:
        """Keep the worker's health."""
        self._health = health

    async def get(self) -> None:
        """Answer 200 if ready, else 503 with a line for each problem."""
        problems = _bounded(await _answer(self._health.problems()))
        self.set_status(503 if problems else 200)
        if "application/json" in self.request.headers.get("Accept", ""):
            self.write({"ready": not problems, "problems": list(problems)})
        else:
            self.write("\n".join(problems or ("ready",)) + "\n")


class HandlersPage(Page):
    """The present state of every handler."""

    def initialize(self, handlers: Handlers) -> None:
        """Keep the worker's handlers."""
        self._handlers = handlers

    async def get(self) -> None:
        """Write the states as JSON."""
        self.write({"handlers": [_shown(each) for each in await _answer(self._handlers.handler_states())]})


class IntakePage(Page):
    """Pauses and resumes a handler's intake.

    Requests with an ``Origin`` header are refused. Browsers send it for the scripts of any web site, and
    opening a web page must not stop a worker.
    """

    method = "POST"

    def initialize(self, handlers: Handlers) -> None:
        """Keep the worker's handlers."""
        self._handlers = handlers

    async def post(self, name: str, command: str) -> None:
        """Pause or resume, and write the handler's state; a refusal is ``{"message": …}``."""
        if problem := self.origin_problem():
            self.refuse(403, problem)
            return
        if command == "resume":
            known = await _answer(self._handlers.resume_handler(name))
        else:
            try:
                for_s = _seconds(self.get_query_argument("for_s", None))
            except ValueError as error:
                self.refuse(400, str(error))
                return
            known = await _answer(self._handlers.pause_handler(name, for_s))
        states = await _answer(self._handlers.handler_states())
        if known:
            self.write({"handlers": [_shown(each) for each in states if each.name == name]})
        else:
            names = ", ".join(each.name for each in states) or "none"
            self.refuse(404, f"there is no handler {peer_text(repr(name))} here; the handlers are: {names}")

    def origin_problem(self) -> str:
        """Return why a change must not come from where the request does; empty if it may."""
        return (
            "not from a web page: the request has an Origin header"
            if "Origin" in self.request.headers
            else ""
        )

    def refuse(self, status: int, message: str) -> None:
        """Answer ``{"message": …}``, as commands read it."""
        self.set_status(status)
        self.finish({"message": message})


async def _answer(given: T | Awaitable[T]) -> T:
    """Return an answer, which takes a while if it comes from other processes."""
    return await given if isinstance(given, Awaitable) else given


def _shown(state: HandlerState) -> dict[str, object]:
    problems = _bounded(state.problems)
    shown = {**asdict(state), "problems": problems, "ready": not problems}
    if not state.worker:
        del shown["worker"]
    return shown


def _bounded(problems: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first problems without what looks like a secret, and how many there are in addition."""
    left = len(problems) - _MOST_PROBLEMS
    shown = tuple(map(redact, problems[:_MOST_PROBLEMS]))
    return (*shown, f"and {left} more") if left > 0 else shown


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        for_s = float(text)
    except ValueError:
        for_s = 0.0
    if not 0 < for_s <= MAX_PAUSE_S:
        raise ValueError(f"for_s={peer_text(repr(text))}: give seconds above 0, at most {MAX_PAUSE_S:.0f}")
    return for_s
