"""Background: the tasks that a part of a worker needs for as long as it runs. It restarts none of them.

Start each task that must not end by itself with :meth:`Background.start`, and cancel it as any other task::

    self._poller = background.start(self._poll(), "discovery of orders")

An exception that leaves such a task is logged at once as ``background_task_died``, and ``/healthz`` answers
503 with the task's name until the worker restarts. A task that is cancelled, or that returns, has not died.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from nsqkit.policy.redaction import describe


class Background:
    """The background tasks of one worker.

    Args:
        log: structlog logger for tasks that die.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[Any]] = set()  # an event loop keeps no task alive
        self._died: dict[str, None] = {}

    @property
    def died(self) -> tuple[str, ...]:
        """The tasks that died, one line each."""
        return tuple(self._died)

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task that runs until it is cancelled or returns.

        Args:
            work: The coroutine to run.
            name: What the task does and for which part, for the log and ``/healthz``.
        """
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() and task.cancelling():
            return
        error = asyncio.CancelledError("nobody cancelled the task") if task.cancelled() else task.exception()
        if error is not None:
            reason = describe(error)
            self._died[f"background task {task.get_name()!r} has died: {reason}"] = None
            self._log.error("background_task_died", task=task.get_name(), error=reason, exc_info=error)
