"""Signals: how a process is told to stop, and how it ends when a thread of its own will not."""

import asyncio
import os
import signal
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def stop_event() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; a second signal ends the process at once, with 1."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            sys.stderr.write("second signal: ending at once; nsqd delivers again what was not settled\n")
            end_at_once(1)
        stop.set()

    for each in SIGNALS:
        loop.add_signal_handler(each, on_signal)
    return stop


def end_at_once(code: int) -> None:
    """End the process without waiting for its threads, which the interpreter would do."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
