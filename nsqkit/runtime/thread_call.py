"""Thread call: one call of a function in a thread, and its result."""

import contextvars
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class ThreadCall:
    """One call and its result.

    Args:
        function: What to call in a thread, in a copy of the present context.
        args: Its arguments.
        asked_s: The present time, on the pool's clock.

    Attributes:
        started_s: When a thread started it; infinite before.
        ended_s: When it ended.
        returned: What the function returned; None if it raised an error.
        error: What it raised, or why no thread could start it; None if it returned.
        is_overdue: Whether it has run for longer than the pool's timeout.
    """

    __slots__ = (
        "args",
        "asked_s",
        "context",
        "ended_s",
        "error",
        "function",
        "is_overdue",
        "returned",
        "started_s",
    )

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], asked_s: float) -> None:
        self.function = function
        self.args = args
        self.asked_s = asked_s
        self.context = contextvars.copy_context()
        self.started_s = math.inf
        self.ended_s = 0.0
        self.returned: Any = None
        self.error: BaseException | None = None
        self.is_overdue = False

    def run(self, now_s: Callable[[], float]) -> None:
        """Call the function in this thread.

        Args:
            now_s: The pool's clock.
        """
        self.started_s = now_s()
        try:
            self.returned = self.context.run(self.function, *self.args)
        except BaseException as error:  # noqa: BLE001 - whoever gets the call raises it
            self.error = error
        self.ended_s = now_s()


class AwaitedCall(ThreadCall):
    """A call that a task awaits.

    Args:
        function: What to call in a thread, in a copy of the present context.
        args: Its arguments.
        asked_s: The present time, on the pool's clock.
        ended: Gets a result when the call has ended. If it is cancelled before, the call is not started.
    """

    __slots__ = ("ended",)

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        asked_s: float,
        ended: "asyncio.Future[None]",
    ) -> None:
        super().__init__(function, args, asked_s)
        self.ended = ended

    def run(self, now_s: Callable[[], float]) -> None:
        """Call the function, unless its caller was cancelled."""
        if not self.ended.cancelled():
            super().run(now_s)
