"""Failure: the stack trace of an exception as logs and dead letters may show it, bounded and redacted."""

import traceback

from nsqkit.policy.redaction import redact

STACK_LIMIT = 8192
"""Characters of a stack trace that are kept."""


def stack_of(error: BaseException | None) -> str:
    """Return the end of an exception's stack trace, redacted, at most 8 KiB; empty for None."""
    if error is None or error.__traceback__ is None:
        return ""
    text = "".join(traceback.format_exception(error))
    # Redacted before it is cut: a secret is recognised by its name, which the cut may take away.
    return redact(text[-2 * STACK_LIMIT :], limit=2 * STACK_LIMIT)[-STACK_LIMIT:]
