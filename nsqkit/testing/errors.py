"""Errors of the harness: mistakes of the test or its environment, never of a handler."""

from nsqkit.errors import NsqkitError


class HarnessError(NsqkitError):
    """A test asks for something that the harness cannot do, or something that it needs is missing."""


class NeedsVirtualTimeError(HarnessError):
    """A test needs more time than the harness waits on a real clock, as with a real nsqd.

    The pytest plugin turns it into a skip.
    """
