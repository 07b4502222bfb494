"""Refusals: sort what nsqd refuses by who can correct it."""

from enum import StrEnum

from nsqkit.errors import PublishError, RefusedError


class Fault(StrEnum):
    """What has to change before nsqd accepts a command that it refused.

    ``MESSAGE`` and ``NSQD`` may decide over a message. Only ``SETUP`` may block a handler.
    """

    MESSAGE = "message"
    """This message: it is too large, or its delay is too long."""
    NSQD = "nsqd"
    """This nsqd: it cannot do it now, and a later attempt may succeed."""
    SETUP = "setup"
    """The settings of this worker or of nsqd: a person has to act."""


_PUBLISHES = frozenset({"PUB", "MPUB", "DPUB"})
_SETUP = frozenset(
    {"E_BAD_TOPIC", "E_BAD_CHANNEL", "E_AUTH_FIRST", "E_AUTH_DISABLED", "E_UNAUTHORIZED"},
)
_BY_COMMAND = frozenset({"E_BAD_BODY", "E_INVALID"})


def fault_of(code: str, description: str) -> Fault:
    """Return what has to change after an error frame.

    Args:
        code: nsqd's error code, such as ``E_BAD_TOPIC``.
        description: The text after the code. nsqd begins it with the command where the code does not tell.

    Returns:
        The class; ``NSQD`` for an unknown code.

    Source:
        The error codes of nsqd/protocol_v2.go. nsqd answers ``E_AUTH_FAILED`` to a wrong secret, and also
        while its auth server is away. To wait is right in the second case, and harmless in the first.
    """
    if code == "E_BAD_MESSAGE":
        return Fault.MESSAGE
    if code in _SETUP:
        return Fault.SETUP
    if code in _BY_COMMAND:
        return Fault.MESSAGE if description.partition(" ")[0] in _PUBLISHES else Fault.SETUP
    return Fault.NSQD


def fault_behind(failure: PublishError) -> Fault | None:
    """Return what has to change after a publish that failed; None if nsqd did not refuse it."""
    cause = failure.__cause__
    return fault_of(cause.code, cause.description) if isinstance(cause, RefusedError) else None
