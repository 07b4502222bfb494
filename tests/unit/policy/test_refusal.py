"""Refusals: who can correct each error of nsqd."""

import pytest

from nsqkit.errors import ConnectionLostError, PublishError, RefusedError
from nsqkit.policy.refusal import Fault, fault_behind, fault_of

MESSAGE, NSQD, SETUP = Fault

FRAMES = [
    # The error frames that nsqd 1.3 can answer (nsqd/protocol_v2.go), with numbers and names as examples.
    ("E_BAD_MESSAGE", "PUB message too big 2000000 > 1048576", MESSAGE),
    ("E_BAD_MESSAGE", "MPUB message too big 2000000 > 1048576", MESSAGE),
    ("E_BAD_MESSAGE", "DPUB invalid message body size 0", MESSAGE),
    ("E_BAD_BODY", "MPUB body too big 6000000 > 5242880", MESSAGE),
    ("E_BAD_BODY", "MPUB invalid message count 0", MESSAGE),
    ("E_INVALID", "DPUB timeout 7200000 out of range 0-3600000", MESSAGE),
    ("E_BAD_BODY", "IDENTIFY msg timeout (1000000) is invalid", SETUP),
    ("E_BAD_BODY", "IDENTIFY heartbeat interval (30000) is invalid", SETUP),
    ("E_BAD_BODY", "AUTH body too big 6000000 > 5242880", SETUP),
    ("E_INVALID", "cannot SUB in current state (TLS required)", SETUP),
    ("E_INVALID", "invalid command GET", SETUP),
    ("E_BAD_TOPIC", 'PUB topic name "a b" is not valid', SETUP),
    ("E_BAD_CHANNEL", 'SUB channel name "a b" is not valid', SETUP),
    ("E_AUTH_FIRST", "AUTH required before PUB", SETUP),
    ("E_AUTH_DISABLED", "AUTH disabled", SETUP),
    ("E_UNAUTHORIZED", 'AUTH failed for PUB on "orders" ""', SETUP),
    ("E_UNAUTHORIZED", "AUTH no authorizations found", SETUP),
    ("E_AUTH_FAILED", "AUTH failed", NSQD),
    ("E_AUTH_ERROR", "AUTH error write: broken pipe", NSQD),
    ("E_IDENTIFY_FAILED", "IDENTIFY failed write: broken pipe", NSQD),
    ("E_PUB_FAILED", "PUB failed exiting", NSQD),
    ("E_MPUB_FAILED", "MPUB failed exiting", NSQD),
    ("E_DPUB_FAILED", "DPUB failed exiting", NSQD),
    ("E_SUB_FAILED", "SUB failed consumers for a:b exceeds limit of 1", NSQD),
    ("TLS", "its certificate is not accepted here: certificate has expired", NSQD),
    ("E_OF_A_LATER_NSQD", "", NSQD),
]


@pytest.mark.parametrize(("code", "description", "expected"), FRAMES)
def test_every_refusal_has_one_class(code: str, description: str, expected: Fault) -> None:
    assert fault_of(code, description) is expected


@pytest.mark.parametrize(("code", "description", "fault"), FRAMES)
def test_only_an_nsqd_that_cannot_now_is_asked_again(code: str, description: str, fault: Fault) -> None:
    assert RefusedError("nsqd:4150", code, description).permanent is (fault is not NSQD)


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        pytest.param(RefusedError("nsqd:4150", "E_UNAUTHORIZED", ""), SETUP, id="refused"),
        pytest.param(ConnectionLostError("nsqd:4150", "reset"), None, id="lost"),
        pytest.param(None, None, id="not sent"),
    ],
)
def test_a_failed_publish_has_the_class_of_its_refusal(
    cause: Exception | None, expected: Fault | None
) -> None:
    failure = PublishError("orders", "nsqd:4150", "no", False)
    failure.__cause__ = cause
    assert fault_behind(failure) is expected
