"""Failure: the stack trace of an exception for logs and dead letters, redacted and limited in size."""

import traceback

from nsqkit.policy.redaction import redact

STACK_LIMIT = 8192
"""Maximum length of a stack trace, characters."""


def stack_of(error: BaseException | None) -> str:
    """Return the last ``STACK_LIMIT`` characters of an exception's stack trace, redacted; empty for None."""
    if error is None or error.__traceback__ is None:
        return ""
    text = "".join(traceback.format_exception(error))
    # Redact before cutting: a secret is recognised by its name, which the cut may remove.
    return redact(text[-2 * STACK_LIMIT :], limit=2 * STACK_LIMIT)[-STACK_LIMIT:]
