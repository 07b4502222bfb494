"""Errors of the harness, which are the test's or the environment's mistakes and never a handler's."""

from nsqkit.errors import NsqkitError


class HarnessError(NsqkitError):
    """A test asks for what the harness cannot do, or its environment lacks what the harness needs."""


class NeedsVirtualTimeError(HarnessError):
    """A test needs more time than is waited for where the clock is the real one, as on a real nsqd.

    The pytest plugin turns it into a skip.
    """
