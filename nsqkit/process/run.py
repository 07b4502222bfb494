"""Run: one run of a worker, with the embedded broker, the feeds, and the end of the run."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nsqkit import program
from nsqkit.nsq.nodes import target_address
from nsqkit.ops.channels import make_channels, subscriptions, unread_problem
from nsqkit.ops.feed import check_feed
from nsqkit.ops.keep_trying import keep_trying
from nsqkit.ops.publish import publish_files, repeat_feeds
from nsqkit.process.dev import DevNsq, start_broker
from nsqkit.process.idle import IdleWatch, Workload
from nsqkit.process.targets import Loaded, load_targets
from nsqkit.process.traces import traced
from nsqkit.program import OnSecondSignal, stop_event, unless
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs
from nsqkit.telemetry.metrics import HandlerSummary, Metrics
from nsqkit.worker.worker import Worker, log_left


@dataclass
class Run:
    """One run of the handlers in modules.

    Args:
        targets: Modules, packages or ``module:Class``; or the file of a bridge.
        settings: Settings of the worker and of the publishers for feeds.
        dev: Whether to start the embedded broker and use only that.
        feeds: Pairs of topic and file to publish when all handlers are subscribed.
        exit_when_idle: Whether to end when nsqd has confirmed the feeds and all messages are handled.
        metrics: Counts of the worker.
    """

    targets: Sequence[str]
    settings: Settings
    dev: bool = False
    feeds: Sequence[tuple[str, Path]] = ()
    exit_when_idle: bool = False
    metrics: Metrics = field(default_factory=Metrics)
    worker: Worker | None = field(default=None, init=False)
    _left: list[str] = field(default_factory=list, init=False)
    _feeding: bool = field(default=False, init=False)

    def execute(self, on_second_signal: OnSecondSignal = None) -> int:
        """Run to the end, and return the exit code: 0 for a complete run, 1 if work was left undone.

        Args:
            on_second_signal: Called at each signal after the first; see :func:`~nsqkit.program.stop_event`.

        Raises:
            NsqkitError: If it cannot start, or nsqd refuses a feed permanently.
        """
        for topic, path in self.feeds:
            check_feed(topic, path)
        loaded = load_targets(self.targets, self.settings)
        for topic, path in self.feeds:
            if problem := unread_problem(topic, subscriptions(loaded.modules.handlers)):
                logs.get_logger().warning("feed_unread", feed=str(path), reason=problem)
        work = self._run(loaded, on_second_signal)
        code = program.run(work, self.settings.event_loop, on_left=self._left.extend)
        log_left(self._left)
        return 1 if self._left else code

    @property
    def left_behind(self) -> int:
        """Number of messages whose handlers still run; without any, of other tasks and threads that do."""
        return (self.worker.left_behind if self.worker else 0) or len(self._left)

    def summary(self) -> tuple[HandlerSummary, ...]:
        """Return the counts of each handler."""
        return self.metrics.summary()

    async def _run(self, loaded: Loaded, on_second_signal: OnSecondSignal = None) -> int:
        stop = stop_event(on_second_signal)
        broker = await self._start_broker() if self.dev else None
        try:
            worker = self.worker = Worker(
                [spec.handler for spec in loaded.modules.handlers],
                settings=self.settings,
                resources=loaded.modules.resources,
                middleware=traced(loaded.modules.middleware, self.settings),
                metrics=self.metrics,
                companions=loaded.companions,
            )
            if not await unless(stop, worker.start()):
                return 1 if self.feeds else 0
            try:
                complete = await self._until_end(worker, stop)
            finally:
                await worker.stop(signalled=stop.is_set())
        finally:
            if broker is not None:
                await broker.stop()
        if not complete:
            hint = "see feed_line_refused, feed_stopped or intake_blocked for the reason"
            logs.get_logger().error("run_incomplete", hint=hint)
        return 0 if complete and not worker.left_behind else 1

    async def _start_broker(self) -> DevNsq:
        broker, self.settings = await start_broker(self.settings)
        return broker

    async def _until_end(self, worker: Worker, stop: asyncio.Event) -> bool:
        """Publish the feeds, wait until idle or for a signal, and return whether every line was published."""
        work = asyncio.create_task(self._work(worker))
        if not await unless(stop, work):
            return not self._feeding
        if not self.exit_when_idle:
            await stop.wait()
        return work.result()

    async def _work(self, worker: Worker) -> bool:
        self._feeding = bool(self.feeds)
        address = await self._feed_address(worker) if self.feeds else ""
        await worker.wait_ready()
        complete = await publish_files(self.feeds, worker.publishers, address, self.settings)
        self._feeding = not complete
        if self.exit_when_idle:
            return await self._idle(worker) and complete
        await repeat_feeds(self.feeds, self.settings)
        return complete

    async def _feed_address(self, worker: Worker) -> str:
        """Return the nsqd for the feeds, after creating the channels there and waiting for every handler."""
        address = await keep_trying(partial(target_address, self.settings), logs.get_logger())
        await make_channels(worker.subscribed, worker.publishers, address)
        await worker.wait_subscribed(address)
        return address

    async def _idle(self, worker: Worker) -> bool:
        """Wait until idle and return True; or False as soon as a handler is blocked."""

        async def workload() -> Workload:
            return Workload(worker.held, worker.next_requeue_s, worker.is_blocked)

        return await IdleWatch(self.settings, lambda: worker.subscribed, workload).wait()
