"""Outcomes: the values by which a handler says how its message ends.

A handler that returns ``None`` means ``Finish()``. Failures are raised, never returned.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finish:
    """The message is done."""


@dataclass(frozen=True, slots=True)
class Requeue:
    """The message goes back to nsqd, for another delivery on this channel.

    Args:
        delay_s: Seconds until then, 0 or more; None for the delay of the retry policy. More than the
            setting ``max_requeue_delay_s`` is cut to it, with a warning.

    Raises:
        ValueError: If *delay_s* is not such a number.
    """

    delay_s: float | None = None

    def __post_init__(self) -> None:
        if self.delay_s is not None and not (_is_seconds(self.delay_s) and self.delay_s >= 0):
            raise ValueError(f"Requeue(delay_s={self.delay_s!r}): give seconds, 0 or more")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The message goes to the handler's dead-letter topic, with everything known about it.

    Args:
        detail: The reason, for the person who inspects it.
    """

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Discard:
    """The message is dropped on purpose: counted, never kept.

    Args:
        detail: The reason, for the log.
    """

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """The message is delivered again after a while; until then this worker pauses the handler's intake.

    Args:
        for_s: Seconds, above 0.

    Raises:
        ValueError: If *for_s* is not such a number.
    """

    for_s: float

    def __post_init__(self) -> None:
        if not (_is_seconds(self.for_s) and self.for_s > 0):
            raise ValueError(f"Pause(for_s={self.for_s!r}): give seconds above 0")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The message was handled before, as an extension has found out: it is finished and not handled again.

    Only an extension returns it, in the place of the handler's outcome.
    """


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


Outcome = Finish | Requeue | DeadLetter | Discard | Pause
