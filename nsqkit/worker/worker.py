"""Worker: runs handlers with settings; the only module that connects all parts."""

import asyncio
import math
import sys
from collections.abc import Sequence
from typing import Any, Self

from nsqkit import program
from nsqkit.admin import Access, AdminServer, HandlerState
from nsqkit.background import Background
from nsqkit.errors import HandlerError, SettingsError
from nsqkit.handler.extension import Layer
from nsqkit.handler.group import Handlers, groups_of, ungrouped
from nsqkit.handler.resources import Resource
from nsqkit.loading.checks import check
from nsqkit.loading.modules import resources_in
from nsqkit.monitor import FailureLog, Monitor, Sagas, WorkerSource
from nsqkit.monitor.pages import routes
from nsqkit.nsq.joining_publisher import JoiningPublisher
from nsqkit.nsq.nodes import lookup_of, message_limit
from nsqkit.nsq.options import connection_options
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.policy.address import join_address
from nsqkit.program import stop_event, together, unless
from nsqkit.runtime.drain import drain
from nsqkit.runtime.resources import ReadyHandler, Resources
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs
from nsqkit.telemetry.loop_watch import LoopWatch
from nsqkit.telemetry.metrics import Metrics
from nsqkit.worker.parts import Companion, CompanionParts, MakeCompanion, WorkerParts
from nsqkit.worker.subscription import Subscription
from nsqkit.worker.watch import Watch

LOOKUP_RETRY_S = 0.1
"""Seconds between two looks at nsqlookupd while ``wait_subscribed`` waits."""


class Worker:
    """Runs handlers until it is stopped.

    ``run()`` is a whole program. Within another program, ``async with Worker(…):`` starts the worker on the
    running event loop, and drains it at the end. A worker runs once.

    Args:
        handlers: Handler classes and sagas; one or more, unless there are companions.
        settings: Settings of the worker; by default read from the environment and the settings file.
        resources: Resources that handlers may ask for; by default those in the handlers' modules.
        middleware: Extensions around every handler, outermost first.
        metrics: Where it counts; by default its own.
        companions: Functions that make further parts to run, such as the routes of a bridge to NSQ.

    Attributes:
        specs: Declarations of the handlers.
        failures: The last failures of the handlers, for the monitor page.
        sagas: The instances of its sagas, for the monitor page.
        left_behind: Number of messages that the drain left behind in threads.

    Raises:
        HandlerError: If the handlers cannot run together; lists all problems.
        SettingsError: If the settings name neither nsqd nor nsqlookupd, or if ``admin_token`` or
            ``admin_hosts`` cannot be used.
    """

    def __init__(
        self,
        handlers: Handlers,
        *,
        settings: Settings | None = None,
        resources: Sequence[Resource[Any]] | None = None,
        middleware: Sequence[Layer] = (),
        metrics: Metrics | None = None,
        companions: Sequence[MakeCompanion] = (),
    ) -> None:
        self.specs = tuple(handler.spec for handler in ungrouped(handlers))
        self.settings = settings or Settings.load()
        self.metrics = Metrics() if metrics is None else metrics
        self.left_behind = 0
        modules = [sys.modules[spec.handler.__module__] for spec in self.specs]
        self._resources = Resources(resources_in(modules) if resources is None else resources, self.settings)
        self._middleware = tuple(middleware)
        if problems := check(self.specs, self._resources.known, self.settings, self._middleware):
            raise HandlerError(tuple(problems))
        if not (self.settings.nsqd or self.settings.lookupd):
            raise SettingsError("no NSQ to consume from: set nsqd (host:4150) or lookupd (host:4161)")
        self._log = logs.get_logger()
        self._background = Background(self._log)
        self.metrics.add_source(lambda: [("nsqkit_background_tasks_died", (), len(self._background.died))])
        self.metrics.add_source(self._resources.figures)
        self._loop_watch = LoopWatch(self.specs, self._log, self.metrics.event_loop_blocked)
        self._subscriptions: tuple[Subscription, ...] = ()
        self.failures = FailureLog()
        self.sagas = Sagas(groups_of(self.specs), self.settings, self._background)
        source = WorkerSource(self.handler_states, self.failures, self.sagas)
        self._monitor = Monitor(self.metrics, source, lambda: self.settings)
        self._admin = self._admin_server() if self.settings.admin_port else None
        self._has_started = self._is_draining = self._is_running = False
        self.publishers = PublisherPool(
            connection_options(self.settings),
            publish_timeout_s=self.settings.publish_timeout_s,
            http_of=lambda address: self._watch.http_address(address),  # noqa: PLW0108 - it is set below
        )
        self._watch = Watch(
            self.specs,
            self.settings,
            lookup_of(self.settings),
            metrics=self.metrics,
            log=self._log,
            background=self._background,
        )
        self._companions = self._made(companions)

    def _made(self, companions: Sequence[MakeCompanion]) -> tuple[Companion, ...]:
        parts = CompanionParts(
            settings=self.settings,
            metrics=self.metrics,
            publishers=self.publishers,
            background=self._background,
            log=self._log,
        )
        return tuple(make(parts) for make in companions)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, then drain.

        Python handles a second signal: SIGINT raises KeyboardInterrupt, and SIGTERM ends the process.

        Returns:
            The exit code: 0, or 1 if a handler, another task or a thread still runs. nsqd delivers a message
            of such a handler again after the lease ends. The handler does not keep the process from exiting,
            unless it waits for a thread that it started by itself, as with ``asyncio.to_thread``.

        Raises:
            RuntimeError: If an event loop is running here, or this is not the main thread.
        """
        left: list[str] = []
        program.run(self._run(), self.settings.event_loop, on_left=left.extend)
        log_left(left)
        return 1 if self.left_behind or left else 0

    async def start(self) -> None:
        """Open resources, serve metrics and health, and start consuming; connections open in the background.

        Raises:
            SettingsError: If the admin port is in use.
            RuntimeError: If it has run before.
            ResourceError: If a resource cannot be opened.
            CreationError: If the ``__init__`` of a handler or an extension raises an error.
        """
        if self._has_started:
            raise RuntimeError("a worker runs once; create another Worker")
        self._has_started = True
        self._loop_watch.start()
        try:
            handlers = [await self._resources.prepare(spec, self._middleware) for spec in self.specs]
            self._subscriptions = await self._subscribe(handlers)
            await together(*(each.start() for each in self._companions))
            await self._serve_admin()
        except BaseException:
            await asyncio.gather(*(each.stop(0.0) for each in self._companions))
            await self.publishers.close()
            await self._resources.close()
            self._loop_watch.stop()
            raise
        self._watch.start()
        for subscription in self._subscriptions:
            subscription.consumer.start()
        self._is_running = True
        names = [*(spec.name for spec in self.specs), *(each.name for each in self._companions)]
        self._log.info("worker_started", handlers=names)

    async def wait_ready(self) -> None:
        """Wait until every handler is subscribed at every known nsqd that has its topic, and registered."""
        waits = [each.consumer.wait_ready() for each in self._subscriptions]
        waits += [each.wait_ready() for each in self._companions]
        await asyncio.gather(*waits, self._watch.wait_ready())
        self._log.info("worker_ready")

    async def wait_subscribed(self, address: str) -> None:
        """Wait until every handler is subscribed at one nsqd, which nsqlookupd may not list yet.

        Args:
            address: ``host:port`` of the nsqd.
        """
        while not self.subscribed_to(address):  # noqa: ASYNC110 - nsqlookupd answers
            await asyncio.sleep(LOOKUP_RETRY_S)

    def subscribed_to(self, address: str) -> bool:
        """Return whether every handler is subscribed at one nsqd; if not, nsqlookupd is asked again.

        Args:
            address: ``host:port`` of the nsqd.
        """
        missing = [each for each in self._subscriptions if not each.consumer.subscribed_to(address)]
        for each in missing:
            each.consumer.poll_now()
        return not missing

    async def stop(self, *, signalled: bool = False) -> None:
        """Drain: stop the intake, let handlers finish, settle messages, disconnect, and close resources.

        Args:
            signalled: Whether a signal is the cause, so that the log says what a second one does.
        """
        self._is_draining = True
        self._log_stopping(signalled=signalled)
        pairs = [(each.intake, each.consumer) for each in self._subscriptions]
        draining = drain(
            pairs,
            grace_s=self.settings.grace_s,
            publish_timeout_s=self.settings.publish_timeout_s,
            log=self._log,
        )
        stopping = (each.stop(self.settings.grace_s) for each in self._companions)
        stopped = asyncio.gather(*stopping)
        self.left_behind = await draining
        await stopped
        await self._watch.close()
        for subscription in self._subscriptions:
            subscription.close()
        await self.publishers.close()
        self.sagas.close()
        if self._admin is not None:
            self._monitor.stop()
            await self._admin.stop()
        hung = [each.spec.handler for each in self._subscriptions if each.intake.held]
        if left_open := await self._resources.close(hung):
            self._log.warning("resources_left_open", resources=left_open, hint="handlers still use them")
        self._loop_watch.stop()
        self._log.info("worker_stopped", left_behind=self.left_behind)

    def _log_stopping(self, *, signalled: bool) -> None:
        if not (held := self.held):
            self._log.info("worker_stopping", held=0)
            return
        hint = f"running handlers have {self.settings.grace_s:g} s to finish"
        if signalled:
            hint += "; a second signal ends the process at once"
        self._log.info("worker_stopping", held=held, grace_s=self.settings.grace_s, hint=hint)

    @property
    def held(self) -> int:
        """Number of messages in flight over all handlers."""
        held = (each.held for each in self._companions)
        return sum(each.intake.held for each in self._subscriptions) + sum(held)

    @property
    def next_requeue_s(self) -> float | None:
        """Seconds until the first of the messages that this worker deferred is due; None if none is."""
        next_s = min((each.next_requeue_s for each in self._subscriptions), default=math.inf)
        return None if next_s == math.inf else next_s

    @property
    def is_blocked(self) -> bool:
        """Whether the intake of a handler is stopped because nothing takes its dead letters."""
        is_handler_blocked = any(each.is_blocked for each in self._subscriptions)
        return is_handler_blocked or any(each.is_blocked for each in self._companions)

    @property
    def subscribed(self) -> tuple[tuple[str, str], ...]:
        """Every (topic, channel) that the worker consumes, ``.retry`` topics included."""
        return tuple((topic, each.spec.channel) for each in self._subscriptions for topic in each.topics)

    def live(self) -> bool:
        """Return whether there are no :meth:`faults`; an answer at all shows that the event loop runs."""
        return not self.faults()

    def faults(self) -> tuple[str, ...]:
        """Return why only a restart of the worker helps, one line each; an nsqd that is down is no reason."""
        return self._background.died + self._watch.faults

    def problems(self) -> tuple[str, ...]:
        """Return why the worker is not ready, one line each; empty if it is."""
        if self._is_draining:
            return ("draining",)
        if not self._is_running:
            return ("starting",)
        problems = [problem for each in self._subscriptions for problem in each.problems]
        problems += [problem for each in self._companions for problem in each.problems]
        return (*problems, *self._watch.problems)

    def handler_states(self) -> tuple[HandlerState, ...]:
        """Return the current state of every handler."""
        shown = tuple(self._watch.shown(each.state) for each in self._subscriptions)
        return shown + tuple(each.state for each in self._companions)

    def pause_handler(self, name: str, for_s: float | None) -> bool:
        """Pause the intake of a handler in this worker.

        Args:
            name: Class name of the handler.
            for_s: Seconds above 0; None until it is resumed.

        Returns:
            Whether the worker has such a handler.
        """
        for each in self._named(name):
            each.pause(math.inf if for_s is None else for_s)
        return bool(self._named(name))

    def resume_handler(self, name: str) -> bool:
        """End the pause of a handler; other reasons, such as an open kill switch, still hold.

        Args:
            name: Class name of the handler.

        Returns:
            Whether the worker has such a handler.
        """
        for each in self._named(name):
            each.resume()
        return bool(self._named(name))

    def _named(self, name: str) -> list[Subscription | Companion]:
        handlers = [each for each in self._subscriptions if each.spec.name == name]
        return [*handlers, *(each for each in self._companions if each.name == name)]

    async def _subscribe(self, handlers: Sequence[ReadyHandler]) -> tuple[Subscription, ...]:
        max_msg_bytes = await message_limit(self.settings)
        parts = WorkerParts(
            settings=self.settings,
            metrics=self.metrics,
            publishes=JoiningPublisher(self.publishers),
            make_consumer=self._watch.consumer,
            max_msg_bytes=max_msg_bytes,
            limit_of=self.publishers.max_msg_bytes,
            log=self._log,
            clock=self._watch.clock,
            on_failure=self.failures.add,
        )
        return tuple(Subscription(handler, parts) for handler in handlers)

    def _admin_server(self) -> AdminServer:
        access = Access(self.settings, self._log)
        host, port = self.settings.admin_host, self.settings.admin_port
        return AdminServer(
            self.metrics,
            self,
            host,
            port,
            handlers=self,
            access=access,
            more_pages=routes(self._monitor, self, access),
        )

    async def _serve_admin(self) -> None:
        if self._admin is not None:
            self._monitor.start(self._background)
            address = join_address(self.settings.admin_host, await self._admin.start())
            self._log.info("admin_listening", url=f"http://{address}/")

    async def _run(self) -> None:
        stop = stop_event()
        if await unless(stop, self.start()):
            await stop.wait()
            await self.stop(signalled=True)


def log_left(left: Sequence[str]) -> None:
    """Log the tasks and threads that :func:`nsqkit.program.run` has left running, if there are any."""
    if left:
        hint = "the process ends without them: a task may ignore its cancellation, a thread cannot be stopped"
        logs.get_logger().error("left_running", running=list(left), hint=hint)
