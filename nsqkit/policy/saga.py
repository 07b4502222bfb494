"""Saga: decides what follows an event in a sequence of steps, forwards and in compensation. It is pure.

An instance goes through the steps in order. If one is refused, or its result stays unknown, the steps that
had or may have had an effect are undone in reverse order. An action is started again until somebody answers
or its attempts are used up, so it must be idempotent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from nsqkit.policy.saga_terms import (
    Action,
    ActionPlan,
    Begun,
    Claimed,
    Compensate,
    Decision,
    Due,
    Event,
    Failed,
    Kind,
    Progress,
    Refused,
    Resume,
    Start,
    Status,
    StepPlan,
    Stranded,
    Succeeded,
)

LEASE_MARGIN_S: Final = 5.0
"""Seconds after the timeout of a call in process in which its worker can still store the result."""


def decide(
    steps: Sequence[StepPlan], progress: Progress, event: Event, *, now_s: float, draw: float
) -> Decision:
    """Return what follows an event.

    Args:
        steps: The steps of the instance's version; 1 or more, except for ``Stranded``.
        progress: How far the instance is.
        event: What happened.
        now_s: The present time, seconds since 1970 UTC.
        draw: A uniform number in [0, 1), for the jitter of delays.
    """
    turn = _Turn(tuple(steps), now_s, draw)
    match event:
        case Begun():
            return turn.forward(progress)
        case Due():
            return turn.due(progress)
        case Compensate(reason) | Stranded(reason):
            return turn.intervene(progress, reason, is_stranded=isinstance(event, Stranded))
        case Resume():
            return turn.resume(progress)
        case _:
            ignored = turn.ignores(progress, event.action, event.attempt)
            return Decision(progress, ignored=ignored) if ignored else turn.answer(progress, event)


def ignores(steps: Sequence[StepPlan], progress: Progress, action: Action, attempt: int | None = None) -> str:
    """Return why an answer would change nothing, as in ``Decision.ignored``; empty if it counts.

    Args:
        steps: The steps of the instance's version; 1 or more.
        progress: How far the instance is.
        action: The action that is answered.
        attempt: The attempt that a call in process belongs to; None for a reply.
    """
    return _Turn(tuple(steps), 0.0, 0.0).ignores(progress, action, attempt)


@dataclass(frozen=True, slots=True)
class _Turn:
    steps: tuple[StepPlan, ...]
    now_s: float
    draw: float

    def forward(self, progress: Progress, notes: tuple[str, ...] = ()) -> Decision:
        """Start the step at the position, or complete the instance."""
        if progress.position == len(self.steps):
            return Decision(_final(progress, Status.COMPLETED), (), (*notes, "completed"))
        return self._start(replace(progress, attempts=0), notes)

    def back(self, progress: Progress, notes: tuple[str, ...] = ()) -> Decision:
        """Undo the step at the position, or the nearest one before it that can be undone."""
        position = progress.position
        while position >= 0 and self.steps[position].undo is None:
            position -= 1
        progress = replace(progress, position=position, attempts=0)
        if position < 0:
            return Decision(_final(progress, Status.COMPENSATED), (), (*notes, "compensated"))
        return self._start(progress, notes)

    def due(self, progress: Progress) -> Decision:
        """Start an action again whose delay is over; give up waiting for one whose time is over."""
        if progress.due_s is None or self.now_s < progress.due_s:
            return Decision(progress, ignored="early" if progress.due_s is not None else "final")
        action = self._action(progress)
        if progress.is_waiting:
            return self._start(progress)
        if action.kind is Kind.CALLED and not progress.is_claimed:  # its message was lost, or is late
            return self._start(replace(progress, attempts=progress.attempts - 1))
        return self._retry(progress, f"no answer within {action.timeout_s:g} s")

    def intervene(self, progress: Progress, reason: str, *, is_stranded: bool) -> Decision:
        """Compensate for a person, or set an instance aside that no version knows."""
        status = progress.before or progress.status
        if is_stranded:
            is_open = progress.status in {Status.RUNNING, Status.COMPENSATING}
            return self._set_aside(progress, reason) if is_open else Decision(progress, ignored="final")
        if progress.is_claimed:  # the call may have its effect after that of its compensation
            return Decision(progress, ignored="claimed")
        if status is Status.COMPLETED:
            return self._compensate(progress, len(self.steps) - 1, reason)
        if status is Status.RUNNING:
            return self._compensate(progress, progress.position, reason)
        return Decision(progress, ignored="final")

    def resume(self, progress: Progress) -> Decision:
        """Start the present action again, with all of its attempts."""
        if progress.before is None:
            return Decision(progress, ignored="final")
        resumed = replace(progress, status=progress.before, before=None, attempts=0)
        return self._start(resumed, ("resumed",))

    def ignores(self, progress: Progress, action: Action, attempt: int | None) -> str:
        """Return why an answer would change nothing; empty if it counts."""
        index = next(index for index, step in enumerate(self.steps) if step.name == action.step)
        wanted = Status.COMPENSATING if action.is_undo else Status.RUNNING
        if progress.status is wanted and index == progress.position and progress.attempts:
            return "" if attempt in {None, progress.attempts} else "late"
        if action.is_undo:
            is_past = progress.status is Status.COMPENSATED or (
                progress.status is wanted and index > progress.position
            )
        else:
            is_past = progress.status is Status.COMPLETED or (
                progress.status is wanted and index < progress.position
            )
        return "double" if is_past else "late"

    def answer(self, progress: Progress, event: Succeeded | Refused | Failed | Claimed) -> Decision:
        """Continue after the answer to the present action."""
        match event:
            case Claimed(action):
                return self._claim(progress, action)
            case Succeeded(action, _, reply):
                step = -1 if action.is_undo else 1
                moved = replace(progress, position=progress.position + step)
                notes = (f"{action} succeeded{_by(reply)}",)
                return self.back(moved, notes) if action.is_undo else self.forward(moved, notes)
            case Refused(action, reason, _, reply):
                notes = (f"{action} was refused{_by(reply)}: {reason}",)
                if action.is_undo:
                    return self._set_aside(progress, f"{action} was refused: {reason}", notes)
                return self._compensate(progress, progress.position - 1, reason, notes)
            case Failed(_, reason, _, retries):  # pragma: no branch - mypy proves that there is no other
                return self._retry(progress, reason, retries=retries)

    def _claim(self, progress: Progress, action: Action) -> Decision:
        if progress.is_waiting:
            return Decision(progress, ignored="late")
        if progress.is_claimed:
            return Decision(progress, ignored="claimed")
        due_s = self.now_s + self._action(progress).timeout_s + LEASE_MARGIN_S
        notes = (f"{action} is called, attempt {progress.attempts}",)
        return Decision(replace(progress, is_claimed=True, due_s=due_s), (), notes)

    def _action(self, progress: Progress) -> ActionPlan:
        step = self.steps[progress.position]
        return step.undo if progress.status is Status.COMPENSATING and step.undo is not None else step.action

    def _start(self, progress: Progress, notes: tuple[str, ...] = ()) -> Decision:
        plan = self._action(progress)
        is_undo = progress.status is Status.COMPENSATING
        action = Action(self.steps[progress.position].name, is_undo)
        start = Start(action, progress.attempts + 1)
        started = replace(
            progress,
            attempts=start.attempt,
            due_s=self.now_s + plan.timeout_s,
            is_waiting=False,
            is_claimed=False,
        )
        if plan.kind is not Kind.SENT:
            begun = f"{action} started, attempt {start.attempt}"
            return Decision(started, (start,), (*notes, begun))
        follows = self.answer(started, Succeeded(action))
        sent = (f"{action} sent", *follows.notes[1:])
        return replace(follows, starts=(start, *follows.starts), notes=(*notes, *sent))

    def _retry(self, progress: Progress, reason: str, *, retries: bool = True) -> Decision:
        """Start the present action again after a delay, or give up and treat its effect as possible."""
        policy, attempts = self._action(progress).retry, progress.attempts
        action = Action(self.steps[progress.position].name, progress.status is Status.COMPENSATING)
        if retries and attempts < policy.max_attempts:
            delay_s = policy.backoff.delay_s(attempts, draw=self.draw)
            waiting = replace(progress, due_s=self.now_s + delay_s, is_waiting=True, is_claimed=False)
            notes = (f"{action} failed: {reason}; again in {delay_s:.3g} s",)
            return Decision(waiting, (), notes)
        notes = (f"{action} failed for good: {reason}",)
        if action.is_undo:
            return self._set_aside(progress, f"{action} failed: {reason}", notes)
        return self._compensate(progress, progress.position, f"{action} failed: {reason}", notes)

    def _compensate(
        self, progress: Progress, position: int, reason: str, notes: tuple[str, ...] = ()
    ) -> Decision:
        undoing = replace(progress, status=Status.COMPENSATING, position=position, before=None, reason=reason)
        return self.back(undoing, (*notes, f"compensating: {reason}"))

    def _set_aside(self, progress: Progress, reason: str, notes: tuple[str, ...] = ()) -> Decision:
        stopped = replace(_final(progress, Status.NEEDS_ATTENTION), before=progress.status, reason=reason)
        return Decision(stopped, (), (*notes, f"needs attention: {reason}"))


def _by(reply: str) -> str:
    return f" by {reply}" if reply else ""


def _final(progress: Progress, status: Status) -> Progress:
    return replace(progress, status=status, due_s=None, is_waiting=False, is_claimed=False)
