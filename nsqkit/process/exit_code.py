"""Exit codes: what the end of child processes means for people and for the parent's own exit code."""

import signal
from collections.abc import Iterable

_SIGNALLED = 128


def described(code: int) -> str:
    """Return how a process ended, in words.

    Args:
        code: Its exit code; negative after a signal.
    """
    if code >= 0:
        return f"exit code {code}"
    if -code == signal.SIGKILL:
        return "SIGKILL, which the kernel sends when memory runs out"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def combined(codes: Iterable[int]) -> int:
    """Return the exit code for several processes: the first that is not 0; 128 plus the signal after one.

    So 137 says that a process was killed, for lack of memory most of the time.
    """
    return next((code if code > 0 else _SIGNALLED - code for code in codes if code), 0)
