"""Retrying: repeat a failed call inside a handler, within the handler's remaining time.

stamina runs the loop; this module decides whether and when there is another attempt. Importing it turns off
stamina's instrumentation for the process, because that logs errors unredacted, personal data included. To
turn it on again for your own use of stamina, call ``stamina.instrumentation.set_on_retry_hooks``.
"""

import random
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import stamina
from stamina.instrumentation import set_on_retry_hooks

from nsqkit.errors import BreakerOpenError
from nsqkit.handler.context import Context
from nsqkit.policy.argument import require_errors, require_number, require_whole
from nsqkit.policy.leaves import leaves
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
    """Retry a call with waits that double, but never past the handler's timeout.

    Loop over the attempts, and put the call into the block of each::

        async for attempt in retrying(ctx, on=ConnectionError):  # in a plain handler: for attempt in …
            with attempt:
                await client.reserve(order)

    The first success ends the loop. The error is raised unchanged if no attempts are left, if the next wait
    would take all of ``ctx.remaining_s()``, or if the handler is cancelled; and immediately if it is not one
    of *on* or comes from an open breaker. Use it for faults of about a second. For longer ones use the
    handler's retry policy: a requeued message takes no slot while it waits.

    Do not use it in a handler with ``run_on_loop=True``: there ``for`` would block the event loop.

    Args:
        ctx: Context of the message.
        on: Exception type, or tuple of types, to retry on.
        attempts: Maximum number of calls, the first one included; 1 to 100.
        wait_s: Seconds before the second attempt, plus up to 25 % jitter; above 0, at most 900.
        max_wait_s: Maximum wait before jitter, seconds; *wait_s* to 900.

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
    """Decides whether to retry and after how many seconds; stamina calls it after every failure."""

    def __init__(self, ctx: Context, errors: tuple[type[Exception], ...], backoff: Exponential) -> None:
        self._ctx = ctx
        self._errors = errors
        self._backoff = backoff
        self._failures = 0

    def __call__(self, error: BaseException) -> bool | float:
        self._failures += 1
        if self._ctx.cancelled or not all(map(self._may_pass, leaves(error))):
            return False
        wait_s = self._backoff.delay_s(self._failures, draw=random.random())  # noqa: S311 - no secret
        if wait_s >= self._ctx.remaining_s():
            return False
        self._ctx.log.debug(
            "call_failed", failures=self._failures, wait_s=round(wait_s, 3), error=describe(error)
        )
        return wait_s

    def _may_pass(self, error: BaseException) -> bool:
        return isinstance(error, self._errors) and not isinstance(error, BreakerOpenError)
