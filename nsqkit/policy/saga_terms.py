"""Saga terms: the steps of a saga, how far an instance is, what can happen to it. They decide nothing."""

from dataclasses import dataclass, field
from enum import StrEnum

from nsqkit.policy.retry import RetryPolicy


class Status(StrEnum):
    """State of an instance."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    NEEDS_ATTENTION = "needs_attention"


class Kind(StrEnum):
    """How an action ends: without an answer, by a reply to a command, or by the return of a call."""

    SENT = "sent"
    REPLIED = "replied"
    CALLED = "called"


@dataclass(frozen=True, slots=True)
class ActionPlan:
    """The rules of one action or compensation.

    Args:
        kind: How it ends.
        timeout_s: Seconds from its start after which its result is unknown; above 0.
        retry: How often it is started, and the delays between.
    """

    kind: Kind = Kind.REPLIED
    timeout_s: float = 60.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step.

    Args:
        name: Its name, unique in the saga.
        action: The rules of its action.
        undo: The rules of its compensation; None if there is nothing to undo.
    """

    name: str
    action: ActionPlan
    undo: ActionPlan | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """Names an action.

    Args:
        step: Name of the step.
        is_undo: Whether it is the step's compensation.
    """

    step: str
    is_undo: bool = False

    def __str__(self) -> str:
        return f"{self.step}/undo" if self.is_undo else self.step


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an instance is.

    Args:
        status: Its state.
        position: Index of the step that is done or undone; the number of steps once all are done.
        attempts: How often the present action was started; 0 or more.
        due_s: Time at which something has to happen without an answer, seconds since 1970; None for never.
        is_waiting: Whether the present action is to be started again at ``due_s``.
        is_claimed: Whether a worker has begun the present call in process.
        before: Status with which an instance that needs attention resumes; None for any other.
        reason: Why it is compensated, or needs attention; empty otherwise.
    """

    status: Status = Status.RUNNING
    position: int = 0
    attempts: int = 0
    due_s: float | None = None
    is_waiting: bool = False
    is_claimed: bool = False
    before: Status | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """The instance was created."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """An action has had its effect.

    Args:
        action: The action.
        attempt: The attempt that a call in process belongs to; None for a reply, which answers all of them.
        reply: Type of the reply event, for people; empty for a call.
    """

    action: Action
    attempt: int | None = None
    reply: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """An action has had no effect, and will have none.

    Args:
        action: The action.
        reason: Why, in one line.
        attempt: As in ``Succeeded``.
        reply: As in ``Succeeded``.
    """

    action: Action
    reason: str
    attempt: int | None = None
    reply: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """An action has failed, perhaps after its effect.

    Args:
        action: The action.
        reason: Why, in one line.
        attempt: As in ``Succeeded``.
        retries: Whether it may be started again.
    """

    action: Action
    reason: str
    attempt: int | None = None
    retries: bool = True


@dataclass(frozen=True, slots=True)
class Claimed:
    """A worker is about to make a call.

    Args:
        action: The action.
        attempt: The attempt that it was asked for.
    """

    action: Action
    attempt: int


@dataclass(frozen=True, slots=True)
class Due:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Compensate:
    """A person wants all steps undone.

    Args:
        reason: Why, in one line.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """A person has removed the cause, and wants an instance that needs attention to go on."""


@dataclass(frozen=True, slots=True)
class Stranded:
    """No running version knows the steps of the instance.

    Args:
        reason: Which version is missing.
    """

    reason: str


Event = Begun | Succeeded | Refused | Failed | Claimed | Due | Compensate | Resume | Stranded


@dataclass(frozen=True, slots=True)
class Start:
    """An action to start.

    Args:
        action: The action.
        attempt: Its number, 1 or more.
    """

    action: Action
    attempt: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows an event.

    Args:
        progress: How far the instance is now.
        starts: Actions to start, in order; all but the last have no answer.
        notes: What happened, one line each, for people.
        ignored: Why the event changes nothing: ``double``, ``late``, ``early``, ``claimed`` or ``final``;
            empty if it counts.
    """

    progress: Progress
    starts: tuple[Start, ...] = ()
    notes: tuple[str, ...] = ()
    ignored: str = ""
