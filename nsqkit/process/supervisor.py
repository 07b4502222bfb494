"""Supervisor: several child workers as one service, with one embedded broker, one feed and one admin port.

The parent imports no handler module, so that no handler can block or end it.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from nsqkit import program
from nsqkit.admin import Access, AdminServer
from nsqkit.background import Background
from nsqkit.monitor import Monitor
from nsqkit.monitor.pages import routes
from nsqkit.ops.feed import check_feed
from nsqkit.ops.publish import publish_feeds, repeat_feeds
from nsqkit.policy.address import join_address
from nsqkit.process import systemd
from nsqkit.process.child import ChildWorker, Plan
from nsqkit.process.dev import start_broker
from nsqkit.process.exit_code import combined
from nsqkit.process.fleet import Fleet
from nsqkit.process.fleet_metrics import FleetMetrics
from nsqkit.process.fleet_source import FleetSource
from nsqkit.process.idle import IdleWatch
from nsqkit.process.replacement import Replacement
from nsqkit.process.requests import NoAnswerError
from nsqkit.process.running_child import ChildEndedError, RunningChild
from nsqkit.process.slot import Slot
from nsqkit.program import OnSecondSignal, stop_event, together, unless
from nsqkit.telemetry import logs
from nsqkit.telemetry.metrics import HandlerSummary
from nsqkit.worker.worker import log_left

_SUBSCRIBED_LOOK_S: Final = 0.1
_END_S: Final = 10.0
"""Seconds that a child has to end, beyond the timeouts of its drain."""


class Supervisor:
    """Runs child workers until a signal, or until idle.

    Args:
        plan: Modules and settings of every child.
        count: Number of children; 1 or more.
        command: Command of a child process that uses :class:`~nsqkit.process.child.ParentLink`.
        dev: Whether to start the embedded broker and use only that.
        feeds: Pairs of topic and file to publish when all children are subscribed.
        exit_when_idle: Whether to end when nsqd has confirmed the feeds and all messages are handled.
    """

    def __init__(
        self,
        plan: Plan,
        count: int,
        *,
        command: Sequence[str],
        dev: bool = False,
        feeds: Sequence[tuple[str, Path]] = (),
        exit_when_idle: bool = False,
    ) -> None:
        self._plan = plan
        self._command = command
        self._dev = dev
        self._feeds = feeds
        self._exit_when_idle = exit_when_idle
        self._log = logs.get_logger()
        self._metrics = FleetMetrics()
        settings = plan.settings
        grace_s = settings.connect_timeout_s + settings.grace_s + _END_S
        self._slots = [
            Slot(
                number,
                self._start_child,
                on_ready=self._pause_again,
                on_change=lambda kind, text: self._monitor.mark(kind, text),  # noqa: PLW0108 - it is set below
                grace_s=grace_s,
                log=self._log,
            )
            for number in range(1, count + 1)
        ]
        self._background = Background(self._log)
        self._fleet = Fleet(self._slots, self._background)
        self._monitor = Monitor(self._metrics, FleetSource(self._fleet), lambda: self._plan.settings)
        self._replacement = Replacement(self._slots, settings.max_worker_memory_mb, self._log)
        self._is_complete = not feeds

    def execute(self, on_second_signal: OnSecondSignal = None) -> int:
        """Run to the end.

        Args:
            on_second_signal: Called at each signal after the first, when the children have been killed.

        Returns:
            0 for a complete run; 1 if work was left undone; the code of a child that failed, 128 plus the
            signal if one ended it.

        Raises:
            NsqkitError: If a port is in use, a feed cannot be read, or nsqd refuses a feed permanently.
        """
        self._replacement.check()
        for topic, path in self._feeds:
            check_feed(topic, path)
        left: list[str] = []
        work = self._run(on_second_signal)
        code = program.run(work, self._plan.settings.event_loop, on_left=left.extend)
        log_left(left)
        return code or int(bool(left))

    def summary(self) -> tuple[HandlerSummary, ...]:
        """Return the counts of each handler over all children."""
        return self._metrics.summary()

    async def _run(self, on_second_signal: OnSecondSignal) -> int:
        stop = stop_event(lambda: self._end_at_once(on_second_signal))
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._replacement.request)
        async with self._broker(), self._admin():
            codes = []
            try:
                await self._until_end(stop)
            except ChildEndedError as error:
                self._log.error("worker_failed", reason=str(error), hint="its own lines say why")
                codes = [error.code or 1]
            finally:
                systemd.notify(systemd.STOPPING)
                codes += await self._end_all()
        return combined(codes) or int(not self._is_complete)

    @contextlib.asynccontextmanager
    async def _broker(self) -> AsyncIterator[None]:
        """Run the embedded broker of ``--dev``."""
        if not self._dev:
            yield
            return
        broker, settings = await start_broker(self._plan.settings)
        self._plan = replace(self._plan, settings=settings)
        try:
            yield
        finally:
            await broker.stop()

    @contextlib.asynccontextmanager
    async def _admin(self) -> AsyncIterator[None]:
        """Serve the admin port."""
        host, port = self._plan.settings.admin_host, self._plan.settings.admin_port
        if not port:
            yield
            return
        access = Access(self._plan.settings, self._log)
        pages = routes(self._monitor, self._fleet, access)
        server = AdminServer(
            self._metrics, self._fleet, host, port, handlers=self._fleet, access=access, more_pages=pages
        )
        bound = await server.start()
        self._monitor.start(self._background)
        self._log.info("admin_listening", url=f"http://{join_address(host, bound)}/")
        try:
            yield
        finally:
            self._monitor.stop()
            await server.stop()

    async def _until_end(self, stop: asyncio.Event) -> None:
        """Keep all children running until the work is done or a signal arrives.

        Raises:
            ChildEndedError: If a child ended before it was ready.
        """
        keepers = [slot.keep() for slot in self._slots]
        await unless(self._work_or(stop), together(*keepers, self._replacement.run()))

    async def _work_or(self, stop: asyncio.Event) -> None:
        if await unless(stop, self._work()) and not self._exit_when_idle:
            await stop.wait()

    async def _work(self) -> None:
        """Wait until all children are ready, publish the feeds, and wait until idle if that ends the run."""
        await together(*(slot.was_ready.wait() for slot in self._slots))
        self._log.info("workers_ready", workers=len(self._slots))
        systemd.notify(systemd.READY)
        settings = self._plan.settings
        if self._feeds:
            self._is_complete = await publish_feeds(
                self._feeds, self._fleet.subscriptions, settings, wait_subscribed=self._wait_subscribed
            )
        if self._exit_when_idle:
            idle = IdleWatch(settings, lambda: self._fleet.subscriptions, self._fleet.workload)
            self._is_complete = await idle.wait() and self._is_complete
        if not self._is_complete:
            hint = "see feed_line_refused, feed_stopped or intake_blocked for the reason"
            self._log.error("run_incomplete", hint=hint)
        if not self._exit_when_idle:
            await repeat_feeds(self._feeds, settings)

    async def _wait_subscribed(self, address: str) -> None:
        while not await self._fleet.subscribed_to(address):  # noqa: ASYNC110 - other processes answer
            await asyncio.sleep(_SUBSCRIBED_LOOK_S)

    async def _start_child(self, number: int) -> RunningChild:
        """Start a child: a terminal's Ctrl-C and hang-up are for the parent, as are systemd and the port."""
        env = {name: value for name, value in os.environ.items() if name != systemd.ADDRESS}
        settings = replace(self._plan.settings, admin_port=0)
        counts = self._metrics.add_child()
        plan = Plan(self._plan.targets, settings, number, counts.descriptor)
        blocked = (signal.SIGINT, signal.SIGHUP)
        try:
            worker = await ChildWorker.start(self._command, plan, blocked=blocked, env=env)
        except BaseException:
            counts.close()
            raise
        return RunningChild(number, worker, counts, self._log)

    async def _pause_again(self, child: RunningChild) -> None:
        """Pause the handlers in a new child that an operator has paused in the others."""
        try:
            await self._fleet.pause_again(child)
        except NoAnswerError as error:
            self._log.warning("pause_not_passed_on", worker=child.number, reason=str(error))

    async def _end_all(self) -> list[int]:
        """Let all children drain at the same time, and return their exit codes."""
        ended = await asyncio.gather(*(slot.end() for slot in self._slots))
        return [code for codes in ended for code in codes]

    def _end_at_once(self, on_second_signal: OnSecondSignal) -> None:
        for slot in self._slots:
            slot.kill()
        if on_second_signal is not None:
            on_second_signal()
