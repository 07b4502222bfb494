"""Failure: whether an exception is the team's, and its stack trace for logs and dead letters."""

import asyncio
import traceback
from collections.abc import Sequence

from nsqkit.policy.redaction import describe, redact

STACK_LIMIT = 8192
"""Maximum length of a stack trace, characters."""


def stack_of(error: BaseException | None) -> str:
    """Return the last ``STACK_LIMIT`` characters of an exception's stack trace, redacted; empty for None."""
    if error is None or error.__traceback__ is None:
        return ""
    text = "".join(traceback.format_exception(error))
    # Redact before cutting: a secret is recognised by its name, which the cut may remove.
    return redact(text[-2 * STACK_LIMIT :], limit=2 * STACK_LIMIT)[-STACK_LIMIT:]


def as_failure(error: BaseException) -> Exception:
    """Return an exception of a handler as one that fails a message; ``SystemExit`` becomes a RuntimeError."""
    if isinstance(error, Exception):
        return error
    return RuntimeError(f"the handler raised {describe(error)}").with_traceback(error.__traceback__)


def is_from_outside(error: BaseException, task: object, *, is_stopping: bool) -> bool:
    """Return whether an exception must leave the task, because no code that runs in it raised it.

    Python throws ``GeneratorExit`` into a coroutine that it discards; the task does not run then. A second
    Ctrl-C, while the worker stops, raises ``KeyboardInterrupt`` in whatever code runs. Otherwise both come
    from the team's code, like any other exception.

    Args:
        error: The exception that was caught.
        task: The task in which it was caught.
        is_stopping: Whether the worker stops.
    """
    if isinstance(error, GeneratorExit):
        try:
            return asyncio.current_task() is not task
        except RuntimeError:  # no event loop runs
            return True
    return isinstance(error, KeyboardInterrupt) and is_stopping


def raise_all(errors: Sequence[BaseException]) -> None:
    """Raise the errors of several steps that all had to be made.

    Raises:
        BaseException: The error, if there is one; of several, a group of them.
    """
    if len(errors) > 1:
        raise BaseExceptionGroup("several extensions or resources could not be closed", errors)
    for error in errors:
        raise error
