"""Attempts: calls inside a handler that are made again after a failure, within the time that it has.

stamina makes the loop; whether and when there is another attempt is decided here. Its own instrumentation is
turned off for the process when this module is loaded, because it logs errors as they are, personal data
included. Who calls stamina elsewhere turns it on again with ``stamina.instrumentation.set_on_retry_hooks``.
"""

import random
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import stamina
from stamina.instrumentation import set_on_retry_hooks

from nsqkit.errors import BreakerOpenError
from nsqkit.handler.context import Context
from nsqkit.policy.argument import require_errors, require_number, require_whole
from nsqkit.policy.redaction import describe
from nsqkit.policy.retry import Exponential

MAX_CALL_ATTEMPTS = 100
MAX_CALL_WAIT_S = 900.0

set_on_retry_hooks(())


class Attempts(Protocol):
    """The attempts of one call, for ``async for`` and for ``for``; each is a context manager."""

    def __iter__(self) -> Iterator[stamina.Attempt]: ...
    def __aiter__(self) -> AsyncIterator[stamina.Attempt]: ...


def retrying(
    ctx: Context,
    *,
    on: type[Exception] | tuple[type[Exception], ...],
    attempts: int = 3,
    wait_s: float = 0.1,
    max_wait_s: float = 5.0,
) -> Attempts:
    """Make a call again where it fails, after waits that double, but never past the handler's timeout.

    Loop over it, and put the call into the attempt's block::

        async for attempt in retrying(ctx, on=ConnectionError):  # in a plain handler: for attempt in …
            with attempt:
                await client.reserve(order)

    The block that succeeds ends the loop. The last error leaves it as it is: when no attempts are left, when
    the next wait would take all of ``ctx.remaining_s()``, when the worker has cancelled the handler, or at
    once when it is none of *on* or the error of an open breaker. It is for faults of a second or so; what
    takes longer is the business of the handler's retry policy, which holds no slot meanwhile.

    Not in a handler with ``run_on_loop=True``: there ``for`` would hold up the event loop.

    Args:
        ctx: The Context of the handler that makes the call.
        on: The exception type after which to try again, or several.
        attempts: Calls in all; 1 to 100.
        wait_s: Seconds before the second attempt, lengthened by up to a quarter; above 0, at most 900.
        max_wait_s: Longest wait, before that lengthening; wait_s to 900 seconds.

    Raises:
        ValueError: If a value is out of its range.
        TypeError: If a value is of the wrong type.
    """
    errors = on if isinstance(on, tuple) else (on,)
    require_errors("retrying", "on", errors)
    require_whole("retrying", "attempts", attempts, 1, MAX_CALL_ATTEMPTS)
    require_number("retrying", "wait_s", wait_s, above=0.0, most=MAX_CALL_WAIT_S)
    require_number("retrying", "max_wait_s", max_wait_s, least=wait_s, most=MAX_CALL_WAIT_S)
    decide = _Decision(ctx, errors, Exponential(wait_s, 2.0, max_wait_s))
    return stamina.retry_context(on=decide, attempts=attempts, timeout=None)


class _Decision:
    """Whether there is another attempt, and after how long; stamina asks it after every failure."""

    def __init__(self, ctx: Context, errors: tuple[type[Exception], ...], backoff: Exponential) -> None:
        self._ctx = ctx
        self._errors = errors
        self._backoff = backoff
        self._failures = 0

    def __call__(self, error: BaseException) -> bool | float:
        self._failures += 1
        if not isinstance(error, self._errors) or isinstance(error, BreakerOpenError) or self._ctx.cancelled:
            return False
        wait_s = self._backoff.delay_s(self._failures, draw=random.random())  # noqa: S311 - no secret
        if wait_s >= self._ctx.remaining_s():
            return False
        self._ctx.log.debug(
            "call_failed", failures=self._failures, wait_s=round(wait_s, 3), error=describe(error)
        )
        return wait_s
