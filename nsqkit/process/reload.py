"""Reload: replaces the worker when a source file changes, provided that the new worker loads.

The embedded broker and the feeds run in this parent process, so that they survive a change of workers. Only
the workers import handlers. For development.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from nsqkit.errors import SettingsError
from nsqkit.ops.feed import check_feed
from nsqkit.ops.publish import publish_feeds, repeat_feeds
from nsqkit.process.child import ChildWorker, Plan, Subscriptions
from nsqkit.process.dev import start_broker
from nsqkit.program import stop_event, together, unless
from nsqkit.telemetry import logs

Changes = AsyncIterator[frozenset[Path]]


class Reload:
    """Runs one worker after another until a signal arrives.

    Args:
        plan: Modules and settings of every worker.
        command: Command of a child process that uses :class:`~nsqkit.process.child.ParentLink`.
        changes: Yields the files of each change.
        dev: Whether to start the embedded broker and use only that.
        feeds: Pairs of topic and file to publish once.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        command: Sequence[str],
        changes: Changes,
        dev: bool = False,
        feeds: Sequence[tuple[str, Path]] = (),
    ) -> None:
        self._plan = plan
        self._command = command
        self._changes = changes
        self._dev = dev
        self._feeds = feeds
        self._log = logs.get_logger()
        self._changed: set[Path] = set()
        self._wake = asyncio.Event()
        self._subscriptions: Subscriptions = ()
        self._has_loaded = asyncio.Event()
        self._is_fed = False
        self._processes: list[ChildWorker] = []
        self._worker: ChildWorker | None = None
        self._minders: set[asyncio.Task[None]] = set()
        self._code = 0

    def execute(self) -> int:
        """Run until SIGTERM or SIGINT.

        Returns:
            The last worker's exit code, as for ``nsqkit run``; also 1 if a feed is not published completely.

        Raises:
            NsqkitError: If a port is in use, a feed cannot be read, or nsqd refuses a feed permanently.
        """
        for topic, path in self._feeds:
            check_feed(topic, path)
        return asyncio.run(self._run())

    async def _run(self) -> int:
        stop = stop_event(self._hurry)
        broker = None
        if self._dev:
            broker, settings = await start_broker(self._plan.settings)
            self._plan = replace(self._plan, settings=settings)
        try:
            # Watch before the first worker reads a file, so that no change is missed.
            await unless(stop, together(self._watch(), self._follow(), self._feed_all()))
        finally:
            await self._end_all()
            if broker is not None:
                await broker.stop()
        failed = self._code < 0 or not self._is_fed
        return self._code if self._code > 0 else int(failed)

    async def _watch(self) -> None:
        async for files in self._changes:
            self._changed |= files
            self._wake.set()

    async def _follow(self) -> None:
        while True:
            self._wake.clear()
            await self._replace()
            await self._wake.wait()
            self._log.info("files_changed", files=sorted(map(_shown, self._changed)))
            self._changed.clear()

    async def _replace(self) -> None:
        """Start a new worker, and if it loads, run it in place of the current one."""
        # Bytecode is stale if a file changes twice in a second and keeps its size.
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        candidate = await ChildWorker.start(self._command, self._plan, env=env)
        self._processes.append(candidate)
        subscriptions = await self._loaded(candidate)
        if subscriptions is None:
            await self._end(candidate)
            return
        if self._worker is not None:
            before, self._worker = self._worker, None
            await self._end(before)
        self._worker = candidate
        candidate.run()
        self._minders.add(minder := asyncio.create_task(self._mind(candidate)))
        minder.add_done_callback(self._minders.discard)
        self._subscriptions = subscriptions
        self._has_loaded.set()

    async def _loaded(self, candidate: ChildWorker) -> Subscriptions | None:
        """Return a new worker's subscriptions; None if it fails to load or files change meanwhile."""
        loading = asyncio.create_task(candidate.loaded())
        if not await unless(self._wake, loading):
            return None
        if loading.result() is None:
            self._code = await candidate.wait()  # the worker has logged the reason
            self._log.error("reload_failed", exit_code=self._code, next=self._next())
        return loading.result()

    async def _mind(self, worker: ChildWorker) -> None:
        """Log the end of a worker that was not stopped."""
        code = await worker.wait()
        if worker is self._worker:
            self._worker = None
            self._code = code
            self._log.error("worker_ended", exit_code=code, next=self._next())

    def _next(self) -> str:
        return "waiting for a change" + ("; the previous worker continues" if self._worker else "")

    async def _end(self, worker: ChildWorker) -> None:
        code = await worker.stop()
        self._processes.remove(worker)
        if worker.runs:
            self._code = code

    async def _end_all(self) -> None:
        """Stop all workers that still run."""
        self._worker = None
        for each in tuple(self._processes):
            await self._end(each)

    def _hurry(self) -> None:
        """Make every worker stop at once, without draining."""
        for each in self._processes:
            each.signal(signal.SIGTERM)  # a second signal: closing the link sent the first

    async def _feed_all(self) -> None:
        if not self._feeds:
            self._is_fed = True
            return
        await self._has_loaded.wait()
        self._is_fed = await publish_feeds(self._feeds, self._subscriptions, self._plan.settings)
        await repeat_feeds(self._feeds, self._plan.settings)


def watch(folders: Sequence[Path]) -> Changes:
    """Yield sets of changed Python files in folders, one set per change.

    Files that Python and editors generate, and virtual environments, are ignored.

    Raises:
        SettingsError: If watchfiles is not installed.
    """
    try:
        import watchfiles  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError(
            "--reload needs watchfiles: install nsqkit with its extra, nsqkit[reload], or watchfiles itself"
        ) from None
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # otherwise it logs a count of changes
    found = watchfiles.awatch(*folders, watch_filter=watchfiles.PythonFilter(), ignore_permission_denied=True)
    return (frozenset(Path(path) for _, path in changes) async for changes in found)


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
