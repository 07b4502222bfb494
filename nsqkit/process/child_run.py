"""Child run: one run of a worker for its parent process, which asks for its state and stops it."""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from nsqkit.process.child import ParentLink, Plan
from nsqkit.process.child_state import ChildState
from nsqkit.process.requests import Answers
from nsqkit.process.run import Run
from nsqkit.process.targets import Loaded
from nsqkit.program import OnSecondSignal, together, unless
from nsqkit.telemetry.loop_lag import LoopLag
from nsqkit.telemetry.metrics.shared import SharedMetrics
from nsqkit.worker.worker import Worker

STARTED = "started"
READY = "ready"
COUNTS = "counts"

SHARE_S = 0.25
SHARE_RATIO = 100
"""Copying all counts may take 1 % of the CPU time: with hundreds of handlers it happens less often."""


class ChildRun(Run):
    """One run of a child worker, until its parent closes the link or SIGTERM arrives.

    A second signal does nothing: systemd sends SIGTERM to all processes of a service, so that the parent and
    the link cause two. The parent kills a child that has to end at once.

    Args:
        plan: Modules and settings, and the memory for its counts, from the parent.
        link: The link to the parent, which has sent the command to run.
    """

    def __init__(self, plan: Plan, link: ParentLink) -> None:
        if plan.counts is None:
            raise ValueError("a child worker needs memory for its counts")
        self._shared = SharedMetrics(plan.counts)
        super().__init__(plan.targets, plan.settings, metrics=self._shared)
        self._link = link
        self._writer: asyncio.StreamWriter | None = None

    def run(self) -> int:
        """Run to the end, and return the exit code."""
        return self.execute(lambda: None)

    async def _run(self, loaded: Loaded, on_second_signal: OnSecondSignal = None) -> int:
        try:
            return await super()._run(loaded, on_second_signal)
        finally:
            self._shared.share()  # with the counts of the drain
            if self._writer is not None:
                self._writer.close()

    async def _until_end(self, worker: Worker, stop: asyncio.Event) -> bool:
        reader, self._writer = await self._link.streams()
        answers = Answers(reader, self._writer, calls_of(worker))
        lag = LoopLag(self._shared.event_loop_lag)
        lag.start()
        self._share(answers)
        answers.tell(STARTED)
        await unless(
            stop, together(answers.serve(), _report_ready(worker, answers), self._keep_sharing(answers))
        )
        await stop.wait()  # the link has closed: the signal is on its way
        lag.stop()
        return True

    async def _keep_sharing(self, answers: Answers) -> None:
        while True:
            spent_s = self._share(answers)
            await asyncio.sleep(max(SHARE_S, SHARE_RATIO * spent_s))

    def _share(self, answers: Answers) -> float:
        """Copy all counts for the parent, and return how many seconds of CPU that took."""
        began_s = time.thread_time()
        if groups := self._shared.share():
            answers.tell(COUNTS, groups=groups)
        return time.thread_time() - began_s


def leave_signals_to_parent() -> None:
    """Ignore Ctrl-C and hang-up until the run decides: a terminal sends them to all of its processes.

    uvloop starts processes without the signals that :class:`~nsqkit.process.child.ChildWorker` blocks.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


async def _report_ready(worker: Worker, answers: Answers) -> None:
    await worker.wait_ready()
    answers.tell(READY)


def calls_of(worker: Worker) -> Mapping[str, Callable[..., Any]]:
    """Return the functions that answer a parent, plain or async, by the name of the question."""
    return {
        "state": partial(_state, worker),
        "pause": worker.pause_handler,
        "resume": worker.resume_handler,
        "subscribed": worker.subscribed_to,
        "recent_errors": partial(_recent_errors, worker),
        "errors": worker.failures.errors,
        "sagas": worker.sagas.shown,
        "timeline": worker.sagas.timeline,
    }


def _state(worker: Worker) -> Any:
    state = ChildState(
        faults=worker.faults(),
        problems=worker.problems(),
        handlers=worker.handler_states(),
        held=worker.held,
        next_requeue_s=worker.next_requeue_s,
        is_blocked=worker.is_blocked,
    )
    return state.values()


def _recent_errors(worker: Worker) -> list[Any]:
    """Return the labels of each handler with its errors; JSON has no other keys than strings."""
    return [[labels, errors] for labels, errors in worker.failures.recent().items()]
