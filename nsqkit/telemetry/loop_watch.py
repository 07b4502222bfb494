"""Loop watch: a thread that sees when the event loop is blocked, and logs the code that blocks it."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Final

from nsqkit.handler.handler import AnyHandler
from nsqkit.handler.origin import own_place
from nsqkit.handler.spec import HandlerSpec
from nsqkit.policy.beats import next_beat_s

BLOCKED_S: Final = 1.0
"""Seconds by which the event loop is late before it counts as blocked."""
_BEAT_S: Final = 0.5
_LATE_S: Final = _BEAT_S + BLOCKED_S
_MACHINERY: Final = frozenset({"asyncio", "nsqkit", "tornado"})
_HINT: Final = "no other message is handled meanwhile: "
_HINT_ASYNC: Final = f"{_HINT}write a plain `def handle`, which runs in a thread, or use asyncio.to_thread"
_HINT_ON_LOOP: Final = f"{_HINT}leave out run_on_loop, so that the handler runs in a thread"
_HINT_OTHER: Final = f"{_HINT}use asyncio.to_thread, or a library with an async interface"


class LoopWatch:
    """Logs ``event_loop_blocked`` once for each block, and ``event_loop_resumed`` at its end.

    A timer on the loop notes twice a second that the loop turns. When a note is late, the thread reads the
    stack of the loop's thread. If no code runs there, the process was suspended, and nothing is blocked.

    Args:
        specs: Declarations of the handlers that run on the loop.
        log: structlog logger.
        on_block: Called once for each block while it lasts, in the watching thread.
    """

    def __init__(
        self, specs: Sequence[HandlerSpec], log: Any, on_block: Callable[[], None] = lambda: None
    ) -> None:
        self._modules = frozenset(spec.handler.__module__ for spec in specs)
        self._log = log
        self._on_block = on_block
        self._stopping = threading.Event()
        self._timer: asyncio.Handle | None = None
        self._thread_id = 0
        self._depth = 0  # number of frames below the running task or callback
        self._beat_s = 0.0
        self._reported_s = 0.0  # the last beat before the block that was logged

    def start(self) -> None:
        """Start to watch the running event loop; call it once."""
        loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._depth = sys.getrecursionlimit()  # until the first beat, no frame is above it
        self._beat_s = time.monotonic()
        self._timer = loop.call_soon(self._beat, loop)
        threading.Thread(target=self._watch, args=(loop,), name="nsqkit-loop-watch", daemon=True).start()

    def stop(self) -> None:
        """Stop to watch; the thread ends soon. It may be called twice, and before the start."""
        self._stopping.set()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        before_s, self._beat_s = self._beat_s, time.monotonic()
        self._depth = len(_frames(sys._getframe(1)))  # noqa: SLF001 - documented, for tools like this
        if self._reported_s == before_s:
            self._log.info("event_loop_resumed", blocked_s=_late_s(before_s, self._beat_s))
        self._timer = loop.call_at(next_beat_s(loop.time(), _BEAT_S), self._beat, loop)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake whenever the next beat would be late."""
        while not loop.is_closed():
            asked_s, used_s = time.monotonic(), time.process_time()
            due_s = self._beat_s + _LATE_S - asked_s
            wait_s = due_s if due_s > 0 else _BEAT_S
            if self._stopping.wait(wait_s):
                return
            beat_s, now_s = self._beat_s, time.monotonic()
            overslept_s = now_s - asked_s - wait_s
            # Late itself: native code kept Python's lock and used the CPU, or the process was suspended.
            was_suspended = overslept_s > _BEAT_S and time.process_time() - used_s < overslept_s / 2
            is_late = now_s - beat_s >= _LATE_S and beat_s != self._reported_s
            if is_late and not was_suspended and loop.is_running():
                self._report(beat_s, now_s)

    def _report(self, beat_s: float, now_s: float) -> None:
        innermost = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - documented
        frames = _frames(innermost)[self._depth :]
        if self._beat_s != beat_s or not frames:
            return
        self._reported_s = beat_s
        self._on_block()
        spec = _handler_of(frames)
        self._log.warning(
            "event_loop_blocked",
            handler=spec.name if spec else None,
            at=_place(frames, self._modules),
            function=f"{_module(frames[-1])}.{frames[-1].f_code.co_qualname}",
            blocked_s=_late_s(beat_s, now_s),
            hint=_hint(spec),
        )


def _frames(innermost: FrameType | None) -> list[FrameType]:
    """Return a stack, the outermost frame first."""
    frames = []
    while innermost is not None:
        frames.append(innermost)
        innermost = innermost.f_back
    return frames[::-1]


def _late_s(beat_s: float, now_s: float) -> float:
    return round(now_s - beat_s - _BEAT_S, 1)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _handler_of(frames: Sequence[FrameType]) -> HandlerSpec | None:
    """Return the handler whose ``handle`` is running."""
    for frame in frames:
        code = frame.f_code
        if code.co_name == "handle" and code.co_argcount:
            owner = type(frame.f_locals.get(code.co_varnames[0]))
            if issubclass(owner, AnyHandler):
                return owner.spec
    return None


def _place(frames: Sequence[FrameType], modules: frozenset[str]) -> str:
    """Return ``file:line`` of the innermost frame in a handler's module; else in other code of the team."""
    of_handlers = [each for each in frames if _module(each) in modules]
    others = [each for each in frames if _module(each).partition(".")[0] not in _MACHINERY]
    places = [(each.f_code.co_filename, each.f_lineno) for each in of_handlers or others or frames]
    return own_place(places, or_library=True) or "{}:{}".format(*places[-1])


def _hint(spec: HandlerSpec | None) -> str:
    if spec is None:
        return _HINT_OTHER
    return _HINT_ON_LOOP if spec.run_on_loop else _HINT_ASYNC
