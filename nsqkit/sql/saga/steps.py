"""Steps: what a team declares in its sagas. They check nothing; ``declaration.py`` does."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nsqkit.policy.retry import RetryPolicy
from nsqkit.policy.saga_terms import ActionPlan, Kind, StepPlan

_WITHOUT_REASON: Final = 2
"""Parameters of a command that does not ask for the reason of the compensation."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What a reply or a call means: the step has had no effect, and will have none.

    Args:
        reason: Why, in one line, for people.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call in process knows of itself.

    Args:
        idempotency_key: ``SAGA/KEY/STEP``, with ``/undo`` for a compensation; the same in every attempt.
        attempt: Number of the attempt, 1 or more.
        correlation_id: ``correlationid`` of the instance.
        reason: Why the instance is compensated, in one line; empty while it is not.
    """

    idempotency_key: str
    attempt: int
    correlation_id: str
    reason: str = ""


def _retry() -> RetryPolicy:
    return RetryPolicy(max_attempts=5)


@dataclass(frozen=True, slots=True)
class Send:
    """A command event to another service, and what its replies mean.

    Its envelope has the id ``SAGA/KEY/STEP``, the same in every attempt, and the ``correlationid`` of the
    instance.

    Args:
        command: Method ``(self, state) -> event``; its return annotation is a class with ``@event``. With a
            third parameter it gets the reason of the compensation too, empty while there is none.
        replies: Methods ``(self, state, reply) -> new state`` or ``Refused``; None keeps the state. The
            annotation of the reply is a class with ``@event`` and a topic. Without replies, the step is done
            when its command is stored.
        timeout_s: Seconds until the command is sent again without a reply; above 0.
        retry: Number of attempts, and the delays between.
    """

    command: Callable[..., Any]
    replies: Sequence[Callable[..., Any]] = ()
    timeout_s: float = 60.0
    retry: RetryPolicy = field(default_factory=_retry)

    def event(self, member: Any, state: Any, reason: str) -> Any:
        """Return the command.

        Args:
            member: The object of the saga.
            state: State of the instance.
            reason: Why it is compensated; empty if it is not.
        """
        takes_reason = len(inspect.signature(self.command).parameters) > _WITHOUT_REASON
        return self.command(member, state, reason) if takes_reason else self.command(member, state)

    @property
    def plan(self) -> ActionPlan:
        """The rules of the action."""
        return ActionPlan(Kind.REPLIED if self.replies else Kind.SENT, self.timeout_s, self.retry)


@dataclass(frozen=True, slots=True)
class Call:
    """A call in a worker of the saga, in one worker at a time.

    Args:
        function: Method ``async (self, state, call: CallContext) -> new state`` or ``Refused``; None keeps
            the state. What it raises is a failure whose effect is unknown.
        timeout_s: Seconds after which it is cancelled; above 0, at most 840.
        retry: Number of attempts, and the delays between. An error that ``on`` gives a final outcome is not
            tried again.
    """

    function: Callable[..., Any]
    timeout_s: float = 30.0
    retry: RetryPolicy = field(default_factory=_retry)

    @property
    def plan(self) -> ActionPlan:
        """The rules of the action."""
        return ActionPlan(Kind.CALLED, self.timeout_s, self.retry)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a saga.

    Args:
        name: Letters, digits, ``_`` and ``-``; unique in the saga.
        action: What it does.
        undo: What undoes it; None if there is nothing to undo. It must be right too if the action had no
            effect, or has it later.
    """

    name: str
    action: Send | Call
    undo: Send | Call | None = None

    @property
    def plan(self) -> StepPlan:
        """The rules of the step."""
        return StepPlan(self.name, self.action.plan, None if self.undo is None else self.undo.plan)
