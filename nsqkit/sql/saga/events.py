"""Events of sagas: how nsqkit starts, wakes and calls instances, by messages on a topic of each saga."""

from dataclasses import dataclass, make_dataclass
from typing import Any, Literal

from nsqkit.events.types import event

Signal = Literal["due", "resume", "compensate"]


@event("nsqkit.saga.signal", version=1)
@dataclass(frozen=True, slots=True)
class SagaSignal:
    """Asks an instance to look at its time, to go on, or to compensate.

    Args:
        key: Key of the instance.
        signal: What is asked.
        reason: Why it is compensated, in one line.
    """

    key: str
    signal: Signal
    reason: str = ""


@event("nsqkit.saga.call", version=1)
@dataclass(frozen=True, slots=True)
class SagaCall:
    """Asks a worker to make a call of an instance.

    Args:
        key: Key of the instance.
        step: Name of the step.
        is_undo: Whether its compensation is called.
        attempt: Number of the attempt, 1 or more.
    """

    key: str
    step: str
    is_undo: bool
    attempt: int


def topic_of(saga: str) -> str:
    """Return the topic on which a saga starts, wakes and calls its instances.

    Args:
        saga: Name of the saga.
    """
    return f"saga.{saga}"


def start_event(saga: str, version: int, state: type[Any], module: str) -> type[Any]:
    """Return the class of the events that start instances of one version.

    Args:
        saga: Name of the saga.
        version: Version of its steps.
        state: Class of its state.
        module: Name of the module that defines the saga.
    """
    fields = [("key", str), ("state", state), ("correlation_id", str)]
    made = make_dataclass("Start", fields, frozen=True)
    made.__module__, made.__qualname__ = module, f"{saga}.Start"  # Python 3.12 would name this module
    return event(f"{saga}.start", version=version, topic=topic_of(saga))(made)
