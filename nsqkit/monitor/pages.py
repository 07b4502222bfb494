"""Pages: the paths of the monitor. The files of the page are public; what it shows needs the admin token."""

import asyncio
import contextlib
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from tornado.iostream import StreamClosedError

from nsqkit.admin import Access, Handlers
from nsqkit.admin.pages import IntakePage, Page
from nsqkit.admin.server import Route
from nsqkit.errors import NsqkitError, SettingsError
from nsqkit.monitor.control import Control
from nsqkit.monitor.incident import policy_of
from nsqkit.monitor.monitor import Monitor
from nsqkit.policy.peer_text import peer_text
from nsqkit.policy.redaction import redact

_TYPES: Final = MappingProxyType(
    {
        "html": "text/html; charset=utf-8",
        "css": "text/css; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
        "svg": "image/svg+xml",
    }
)
_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
INDEX: Final = "index.html"
STYLE: Final = "monitor.css"
EVENTS_S: Final = 20.0
"""Seconds after which a page asks for events again. After 30 s the server would end them in the middle."""


class FilePage(Page):
    """A file of the page, the same for everybody: it needs no token, so that the page can ask for one."""

    is_health = True

    def initialize(self, found: dict[str, bytes]) -> None:
        """Keep the files."""
        self._files = found

    def get(self, name: str = INDEX) -> None:
        """Write the file."""
        content = self._files.get(name)
        if content is None:
            self.send_error(404)
            return
        self.set_header("Content-Type", _TYPES[name.rpartition(".")[2]])
        self.set_header("Content-Security-Policy", _CONTENT_SECURITY_POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.write(content)


class EventsPage(Page):
    """The first screen, once a second, as server-sent events, for 20 s at most; then the page asks again."""

    def initialize(self, monitor: Monitor) -> None:
        """Keep the monitor."""
        self._monitor = monitor

    async def get(self) -> None:
        """Write an event at once, and one after each sample."""
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + EVENTS_S
        with contextlib.suppress(StreamClosedError):  # the client is gone, or its time is over
            is_on = True
            while is_on:
                self.write(f"data: {await self._monitor.text()}\n\n")
                await self.flush()
                is_on = loop.time() < ends_s and await self._monitor.sampled()


class StatePage(Page):
    """The first screen after the next sample, as JSON: for `nsqkit top` and scripts."""

    def initialize(self, monitor: Monitor) -> None:
        """Keep the monitor."""
        self._monitor = monitor

    async def get(self) -> None:
        """Wait for the next sample, a second at most, and write it."""
        if await self._monitor.sampled():
            self.set_header("Content-Type", "application/json; charset=utf-8")
            self.finish(await self._monitor.text())
        else:
            self.refuse(503, "the worker stops")

    def refuse(self, status: int, message: str) -> None:
        """Answer ``{"message": …}``, as commands read it."""
        self.set_status(status)
        self.finish({"message": message})


class ErrorsPage(Page):
    """The errors of one handler, with examples, and how long it runs."""

    def initialize(self, monitor: Monitor) -> None:
        """Keep the monitor."""
        self._monitor = monitor

    async def get(self, name: str) -> None:
        """Write them as JSON."""
        errors, labels = await self._monitor.errors(name), self._monitor.labels_of(name)
        if errors is None or labels is None:
            self.refuse(404, f"there is no handler {peer_text(repr(name))} here")
        else:
            self.write({"errors": errors, "durations": self._monitor.durations(labels)})


class LettersPage(Page):
    """The newest dead letters of one handler in the store."""

    def initialize(self, monitor: Monitor) -> None:
        """Keep the monitor."""
        self._monitor = monitor

    async def get(self, name: str) -> None:
        """Write them as JSON."""
        labels = self._monitor.labels_of(name)
        if labels is None:
            self.refuse(404, f"there is no handler {peer_text(repr(name))} here")
        else:
            self.write(await self._monitor.letters.newest(labels))


class ReplayPage(Page):
    """Replays one dead letter, for the page of this process only."""

    method = "POST"

    def initialize(self, monitor: Monitor, control: Control) -> None:
        """Keep the monitor, and who may change what."""
        self._monitor = monitor
        self._control = control

    async def post(self, name: str, number: str) -> None:
        """Replay it, and write nothing; a refusal is ``{"message": …}``."""
        labels = self._monitor.labels_of(name)
        if problem := self._control.problem(self.request):
            self.refuse(403, problem)
        elif labels is None:
            self.refuse(404, f"there is no handler {peer_text(repr(name))} here")
        else:
            try:
                remote = self.request.remote_ip or ""
                await self._monitor.letters.replay(labels, int(number), remote=remote)
            except NsqkitError as error:
                self.refuse(409 if isinstance(error, SettingsError) else 503, redact(str(error)))

    def refuse(self, status: int, message: str) -> None:
        """Answer ``{"message": …}``, as commands read it."""
        self.set_status(status)
        self.finish({"message": message})


class TimelinePage(Page):
    """The timeline of one instance of a saga."""

    def initialize(self, monitor: Monitor) -> None:
        """Keep the monitor."""
        self._monitor = monitor

    async def get(self, saga: str, key: str) -> None:
        """Write it as JSON, or why the database cannot be read."""
        found = await self._monitor.timeline(saga, key)
        if found is None:
            self.refuse(404, f"saga {peer_text(repr(saga))} has no instance {peer_text(repr(key))} here")
        else:
            self.write(found)


class IncidentPage(Page):
    """The first screen as one file, for those who may read the page. It changes nothing."""

    def initialize(self, monitor: Monitor, style: str) -> None:
        """Keep the monitor, and the style sheet of the page."""
        self._monitor = monitor
        self._style = style

    async def get(self) -> None:
        """Write the file, to be saved and not to be opened here."""
        self.set_header("Content-Type", _TYPES["html"])
        self.set_header("Content-Disposition", 'attachment; filename="incident.html"')
        self.set_header("Content-Security-Policy", f"sandbox; {policy_of(self._style)}")
        self.write(await self._monitor.incident(self._style))


class TokenPage(Page):
    """The token with which the page may pause handlers; null if it is read-only."""

    def initialize(self, control: Control) -> None:
        """Keep who may change what."""
        self._control = control

    def get(self) -> None:
        """Write it as JSON."""
        self.write({"token": self._control.token})


class ControlPage(IntakePage):
    """Pauses and resumes a handler's intake, for the page of this process only."""

    def initialize(self, handlers: Handlers, control: Control) -> None:  # type: ignore[override]
        """Keep the worker's handlers, and who may change them."""
        super().initialize(handlers)
        self._control = control

    def origin_problem(self) -> str:
        """Return why the request must not change anything; empty if it may."""
        return self._control.problem(self.request)


def routes(monitor: Monitor, handlers: Handlers, access: Access) -> list[Route]:
    """Return the paths of the monitor, as tornado takes them.

    Args:
        monitor: What the page shows.
        handlers: The handlers that it may pause.
        access: Who may ask the server.
    """
    control = Control(access)
    folder = files("nsqkit.monitor") / "page"
    found = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}
    return [
        ("/", FilePage, {"found": found}),
        (r"/monitor/([a-z]+\.[a-z]+)", FilePage, {"found": found}),
        ("/monitor/events", EventsPage, {"monitor": monitor}),
        ("/monitor/state", StatePage, {"monitor": monitor}),
        ("/monitor/handlers/([^/]+)", ErrorsPage, {"monitor": monitor}),
        ("/monitor/handlers/([^/]+)/letters", LettersPage, {"monitor": monitor}),
        (
            "/monitor/handlers/([^/]+)/letters/([0-9]{1,18})/replay",
            ReplayPage,
            {"monitor": monitor, "control": control},
        ),
        ("/monitor/sagas/([^/]+)/([^/]+)", TimelinePage, {"monitor": monitor}),
        ("/monitor/incident", IncidentPage, {"monitor": monitor, "style": found[STYLE].decode()}),
        ("/monitor/token", TokenPage, {"control": control}),
        (
            "/monitor/handlers/([^/]+)/(pause|resume)",
            ControlPage,
            {"handlers": handlers, "control": control},
        ),
    ]
