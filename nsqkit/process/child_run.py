"""Child run: one run of a worker for its parent process, which asks for its state and stops it."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from nsqkit.process.child import ParentLink, Plan
from nsqkit.process.child_state import ChildState
from nsqkit.process.requests import Answers
from nsqkit.process.run import Run
from nsqkit.program import together, unless
from nsqkit.worker.worker import Worker

STARTED = "started"
READY = "ready"


class ChildRun(Run):
    """One run of a child worker, until its parent closes the link or SIGTERM arrives.

    A second signal does nothing: systemd sends SIGTERM to all processes of a service, so that the parent and
    the link cause two. The parent kills a child that has to end at once.

    Args:
        plan: Modules and settings, from the parent.
        link: The link to the parent, which has sent the command to run.
    """

    def __init__(self, plan: Plan, link: ParentLink) -> None:
        super().__init__(plan.targets, plan.settings)
        self._link = link

    def run(self) -> int:
        """Run to the end, and return the exit code."""
        return self.execute(lambda: None)

    async def _until_end(self, worker: Worker, stop: asyncio.Event) -> bool:
        answers = Answers(*await self._link.streams(), calls_of(worker))
        answers.tell(STARTED)
        await unless(stop, together(answers.serve(), _report_ready(worker, answers)))
        await stop.wait()  # the link has closed: the signal is on its way
        return True


async def _report_ready(worker: Worker, answers: Answers) -> None:
    await worker.wait_ready()
    answers.tell(READY)


def calls_of(worker: Worker) -> Mapping[str, Callable[..., Any]]:
    """Return the functions that answer a parent, by the name of the question."""
    return {
        "state": partial(_state, worker),
        "pause": worker.pause_handler,
        "resume": worker.resume_handler,
        "subscribed": worker.subscribed_to,
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
