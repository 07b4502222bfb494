"""Outcomes: the values that a handler returns to decide what happens to its message.

``None`` means ``Finish()``. A handler reports a failure by raising an exception.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finish:
    """Finish the message: it was handled."""


@dataclass(frozen=True, slots=True)
class Requeue:
    """Requeue the message: nsqd delivers it to this channel again.

    Args:
        delay_s: Seconds before the next delivery, 0 or more; None for the backoff of the retry policy. The
            setting ``max_requeue_delay_s`` limits it; a longer delay is a row of the database of a handler
            with ``once=``, and is cut otherwise, with a warning.

    Raises:
        ValueError: If *delay_s* is not a finite number of 0 or more.
    """

    delay_s: float | None = None

    def __post_init__(self) -> None:
        if self.delay_s is not None and not (_is_seconds(self.delay_s) and self.delay_s >= 0):
            raise ValueError(f"Requeue(delay_s={self.delay_s!r}): give seconds, 0 or more")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Move the message to the handler's dead-letter topic, with everything known about it.

    Args:
        detail: Reason, for the person who will look at the dead letter.
    """

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Discard:
    """Discard the message on purpose: it is finished and counted, and not kept.

    Args:
        detail: Reason, as a short text for the log.
    """

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Requeue the message with a delay, and pause this worker's intake of the handler for the same time.

    Args:
        for_s: Length of the pause and of the delay, in seconds above 0.

    Raises:
        ValueError: If *for_s* is not a finite number above 0.
    """

    for_s: float

    def __post_init__(self) -> None:
        if not (_is_seconds(self.for_s) and self.for_s > 0):
            raise ValueError(f"Pause(for_s={self.for_s!r}): give seconds above 0")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Finish the message without handling it: an extension found that it was handled before.

    Only extensions return this value, in place of the handler's outcome.
    """


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


Outcome = Finish | Requeue | DeadLetter | Discard | Pause
