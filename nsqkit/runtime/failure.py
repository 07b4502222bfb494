"""Failure: where an exception was raised, and the end of its stack."""

import sysconfig
import traceback
from pathlib import Path

from nsqkit.policy.redaction import redact

STACK_LIMIT = 8192
_FOREIGN = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "<")


def stack_of(error: BaseException | None) -> str:
    """Return the end of an exception's stack trace, redacted, at most 8 KiB; empty for None."""
    if error is None or error.__traceback__ is None:
        return ""
    text = "".join(traceback.format_exception(error))
    # Redacted before it is cut: a secret whose name is cut off is not found.
    return redact(text[-2 * STACK_LIMIT :], limit=2 * STACK_LIMIT)[-STACK_LIMIT:]


def place_of(error: BaseException | None) -> str:
    """Return ``file:line`` of the innermost line of the team's own; empty where there is none."""
    if error is None:
        return ""
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [f"{file}:{line}" for file, line in lines if not file.startswith(_FOREIGN)]
    return own[-1] if own else ""
