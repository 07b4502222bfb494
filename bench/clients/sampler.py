"""A sampling profiler that counts samples by stage of a message.

It takes as many samples per CPU second as the kernel's clock allows, mostly 250. Samples are taken between
two Python instructions, so the time of a C function counts for its caller. The stage is that of the innermost
frame whose module has one.
"""

import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EVERY_S = 0.001  # CPU seconds; kernels round it up

STAGES = (
    ("read and write the socket", ("nsqkit/nsq/stream", "asyncio/selector_events", "uvloop")),
    ("share RDY", ("nsqkit/nsq/consumer", "nsqkit/nsq/rdy", "nsqkit/policy/flow")),
    ("cut chunks into messages, join answers", ("nsqkit/nsq/",)),
    ("decode", ("nsqkit/events/",)),
    ("start the handler", ("nsqkit/runtime/start", "nsqkit/runtime/dispatch", "nsqkit/handler/")),
    ("settle", ("nsqkit/runtime/settle", "nsqkit/policy/verdict", "nsqkit/policy/outcome")),
    ("count", ("nsqkit/telemetry/",)),
    ("receive, hold, end", ("nsqkit/runtime/", "nsqkit/policy/", "nsqkit/worker/")),
)
"""Stages with parts of their modules' paths; the first match counts."""
ELSEWHERE = "event loop and tasks"

_known: dict[str, str] = {}


def stage_of(file: str) -> str:
    """Return the stage of a source file, or an empty text."""
    for stage, parts in STAGES:
        if any(part in file for part in parts):
            return stage
    return ""


def stage_in(frame: FrameType | None) -> str:
    """Return the stage of the innermost frame that has one."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file not in _known:
            _known[file] = stage_of(file)
        if _known[file]:
            return _known[file]
        frame = frame.f_back
    return ELSEWHERE


@contextmanager
def sampled(*, is_wanted: bool) -> Iterator[None]:
    """Print the samples of each stage and function as a line of JSON at the end."""
    if not is_wanted:
        yield
        return
    stages: Counter[str] = Counter()
    functions: Counter[str] = Counter()

    def look(_signal: int, frame: FrameType | None) -> None:
        stages[stage_in(frame)] += 1
        if frame is not None:
            module = frame.f_globals.get("__name__", "")
            functions[f"{module}.{frame.f_code.co_qualname}"] += 1

    signal.signal(signal.SIGPROF, look)
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        counts = {"stages": stages.most_common(), "functions": functions.most_common(15)}
        sys.stdout.write(json.dumps(counts) + "\n")
