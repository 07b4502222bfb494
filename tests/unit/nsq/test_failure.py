"""Failure: what nsqd says, and what a socket says, as errors that name the nsqd."""

import pytest

from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError
from nsqkit.nsq.failure import failure_of, lost, settle_failure

ADDRESS = "nsqd:4150"
REFUSED = RefusedError(ADDRESS, "E_BAD_TOPIC", "no")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(REFUSED, REFUSED, id="an error of nsqkit as it is"),
        pytest.param(
            ConnectionRefusedError(111, "Connection refused"),
            ConnectionLostError(ADDRESS, "Connection refused"),
            id="a socket's",
        ),
        pytest.param(
            ValueError("x"),
            ConnectionLostError(ADDRESS, "sent an invalid answer: ValueError('x')"),
            id="any other",
        ),
    ],
)
def test_failure_of(error: Exception, expected: NsqkitError) -> None:
    found = failure_of(ADDRESS, error)
    assert (type(found), str(found)) == (type(expected), str(expected))


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        pytest.param(None, "closed by this process", id="closed here"),
        pytest.param(ConnectionLostError(ADDRESS, "reset"), "reset", id="lost before"),
        pytest.param(REFUSED, f"closed: {REFUSED}", id="refused before"),
    ],
)
def test_lost(failure: NsqkitError | None, reason: str) -> None:
    assert lost(ADDRESS, failure).reason == reason


@pytest.mark.parametrize(
    ("frame", "command"),
    [
        (b"E_FIN_FAILED FIN 0123 failed ID not in flight", "FIN"),
        (b"E_REQ_FAILED", "REQ"),
        (b"E_TOUCH_FAILED x", "TOUCH"),
        (b"E_INVALID x", None),
    ],
)
def test_settle_failure(frame: bytes, command: str | None) -> None:
    assert settle_failure(frame) == command
