"""Ending: ends the process at once where threads that never end would keep it alive."""

import contextlib
import os
import select
import sys

from nsqkit.telemetry.line_writer import flush_all

_STDERR = 2


def end_at_once(code: int) -> None:
    """End the process without waiting for its threads, which the interpreter would do.

    Args:
        code: The exit code.
    """
    flush_all()
    for stream in (sys.stdout, sys.stderr):
        # Nobody reads it any more, it is closed, or a signal arrived in the middle of a write.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            stream.flush()
    os._exit(code)


def on_second_signal() -> None:
    """End the process at once, with 1: whoever sends a second signal does not want to wait."""
    with contextlib.suppress(OSError):
        if select.select([], [_STDERR], [], 0.0)[1]:  # nobody may read it
            os.write(_STDERR, b"second signal: ending at once; nsqd delivers again what was not settled\n")
    end_at_once(1)
