"""Breakers: circuit breakers around the calls of a dependency, on the event loop and in threads."""

import inspect
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from functools import wraps
from threading import Lock
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast
from weakref import WeakSet

from nsqkit.errors import BreakerOpenError
from nsqkit.handler.recorder import breaker_watch
from nsqkit.policy.argument import require_errors
from nsqkit.policy.breaker import BreakerPolicy, BreakerState, Circuit
from nsqkit.policy.leaves import leaves, mark_late

P = ParamSpec("P")
R = TypeVar("R")

_SEVERITY = (BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN)


class Breaker:
    """A circuit breaker: stops calls to a dependency that keeps failing, and tries it again after a while.

    Create one for each dependency, in a module or a resource, and share it among handlers. Put it around
    every call, as a block or as a decorator::

        warehouse = Breaker("warehouse", failures=5, open_s=30.0, on=(OSError, TimeoutError))

        async with warehouse:  # in a plain handler: with warehouse:
            await client.reserve(order)


        @warehouse  # also for a plain function
        async def reserve(order: Order) -> None: ...

    After *failures* failed calls in a row the breaker opens: for *open_s* it refuses every call with
    ``BreakerOpenError``. Let that error leave the handler: the message is requeued for the remaining time,
    and the handler's intake pauses for the same time. Then the breaker is half-open and lets *trials* calls
    through. The first success closes it, the first failure opens it again. The message of a failed trial uses
    up no attempt; the failures that open a closed breaker do.

    A call that is cancelled, or that another breaker refuses, counts neither as failure nor as success. An
    exception group counts as the errors in it. A handler's timeout cancels its call: give the call a shorter
    timeout, so that a dependency that hangs counts as failing.

    Args:
        name: Name of the dependency; the label of ``nsqkit_breaker_state``.
        failures: Number of failed calls in a row that opens the breaker; 1 to 1000000.
        open_s: Seconds for which an open breaker refuses calls; above 0, at most 3600.
        trials: Number of calls at a time while half-open; 1 to 1000000.
        on: Exception types that count as failures; with any other the dependency did answer.
        ignore: Subtypes of *on* that do not count, such as an error caused by the request.
        now_s: Monotonic clock, seconds; by default that of the event loop, and in the thread of a plain
            handler that of its worker. The test harness controls both.

    Raises:
        ValueError: If a value is out of its range.
        TypeError: If a value is of the wrong type.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int = 5,
        open_s: float = 30.0,
        trials: int = 1,
        on: tuple[type[Exception], ...] = (Exception,),
        ignore: tuple[type[Exception], ...] = (),
        now_s: Callable[[], float] | None = None,
    ) -> None:
        given: object = name
        if not (isinstance(given, str) and given):
            raise TypeError(f"Breaker(name={name!r}): give the name of the dependency as a string")
        require_errors("Breaker", "on", on)
        require_errors("Breaker", "ignore", ignore)
        self.name = name
        self._on = on
        self._ignore = ignore
        self._now_s = now_s or _loop_s
        self._circuit = Circuit(BreakerPolicy(failures, open_s, trials))
        self._known_state = BreakerState.CLOSED
        self._lock = Lock()
        with _registering:
            _breakers.add(self)

    @property
    def state(self) -> BreakerState:
        """The current state: ``closed``, ``open`` or ``half_open``."""
        with self._lock:
            return self._circuit.state(now_s=self._now_s())

    @property
    def open_for_s(self) -> float:
        """Seconds until an open breaker lets a call through; 0 if it is not open."""
        now_s = self._now_s()
        with self._lock:
            is_open = self._circuit.state(now_s=now_s) is BreakerState.OPEN
            return self._circuit.remaining_s(now_s=now_s) if is_open else 0.0

    def __enter__(self) -> Self:
        """Admit a call of the dependency.

        Raises:
            BreakerOpenError: If the breaker refuses the call.
        """
        now_s = self._now_s()
        with self._lock:
            ticket = self._circuit.admit(now_s=now_s)
            remaining_s = self._circuit.remaining_s(now_s=now_s)
        self._tell_change(now_s)
        if ticket is None:
            raise BreakerOpenError(self.name, remaining_s)
        call = _Call(self, ticket)
        call.token = _innermost.set(call)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Record the result of the call; an error is passed on.

        Raises:
            RuntimeError: If the block began in another task or thread.
        """
        ticket = self._leave()
        now_s = self._now_s()
        with self._lock:
            errors = () if error is None else leaves(error)
            if failures := tuple(filter(self._is_failure, errors)):
                if not self._circuit.failed(ticket, now_s=now_s):
                    for each in failures:
                        mark_late(each, self.name)
            elif errors and all(map(_is_no_answer, errors)):
                self._circuit.abandoned(ticket)
            else:
                self._circuit.succeeded(ticket, now_s=now_s)
        self._tell_change(now_s)

    def _tell_change(self, now_s: float) -> None:
        """Report the state to the extensions around the handler, if this call has changed it."""
        with self._lock:
            state, before = self._circuit.state(now_s=now_s), self._known_state
            self._known_state = state
        if state is not before and (watch := breaker_watch.get()) is not None:
            watch(self.name, state)

    def _is_failure(self, error: BaseException) -> bool:
        counts = isinstance(error, self._on) and not isinstance(error, self._ignore)
        return counts and not _is_no_answer(error)

    def _leave(self) -> int:
        call = _innermost.get()
        if call is None or call.breaker is not self:
            raise RuntimeError(f"Breaker({self.name!r}): a block must end in the task or thread it began in")
        # Unlike set(None), this leaves no variable behind: Intake compares the context after each delivery.
        _innermost.reset(call.token)
        return call.ticket

    async def __aenter__(self) -> Self:
        """Admit a call of the dependency.

        Raises:
            BreakerOpenError: If the breaker refuses the call.
        """
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Record the result of the call; an error is passed on."""
        self.__exit__(kind, error, traceback)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a plain or coroutine function: each call counts as one call of the dependency.

        Raises:
            TypeError: If it is a generator function, since calling one runs no code yet.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"Breaker({self.name!r}) around {function.__name__}: put a with block inside it")
        if not inspect.iscoroutinefunction(function):

            @wraps(function)
            def call(*args: P.args, **kwargs: P.kwargs) -> R:
                with self:
                    return function(*args, **kwargs)

            return call

        @wraps(function)
        async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            with self:
                return await function(*args, **kwargs)

        return cast("Callable[P, R]", call_async)


def _is_no_answer(error: BaseException) -> bool:
    """Return whether an error says nothing of the dependency, as a cancellation or a refused call does."""
    return not isinstance(error, Exception) or isinstance(error, BreakerOpenError)


def _loop_s() -> float:
    import asyncio  # noqa: PLC0415 - a module that only declares breakers does not load it

    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:  # a thread of a plain handler
        return worker_now_s.get()()


def breaker_states() -> dict[str, BreakerState]:
    """Return the state of every live breaker by name; of several with one name, the most open one."""
    with _registering:
        live = list(_breakers)
    states: dict[str, BreakerState] = {}
    for each in live:
        states[each.name] = max(each.state, states.get(each.name, BreakerState.CLOSED), key=_SEVERITY.index)
    return dict(sorted(states.items()))


def open_for_s(name: str) -> float:
    """Return the seconds until the live breakers of a name let a call through; 0 if none of them is open."""
    with _registering:
        live = [each for each in _breakers if each.name == name]
    return max((each.open_for_s for each in live), default=0.0)


_breakers: WeakSet[Breaker] = WeakSet()
_registering = Lock()


@dataclass(slots=True)
class _Call:
    breaker: Breaker
    ticket: int
    token: "Token[_Call | None]" = field(init=False)


worker_now_s: ContextVar[Callable[[], float]] = ContextVar("worker_now_s", default=time.monotonic)
"""The monotonic clock of the worker that calls the handler; its context reaches the threads, too."""

_innermost: ContextVar[_Call | None] = ContextVar("_innermost", default=None)
"""The innermost breaker block of the task or thread; its token restores the block around it."""
