"""What is asked in IDENTIFY, and how nsqd's answer is read."""

import re
import ssl
from typing import Any

import pytest

from nsqkit.nsq.identify import ConnectionOptions, IdentifyReply, explained, objection
from nsqkit.nsq.tls import Tls


def test_the_secret_is_not_shown() -> None:
    assert "hush" not in repr(ConnectionOptions(auth_secret="hush"))


def test_the_wires_milliseconds_become_seconds() -> None:
    reply = {"version": "1.3.0", "max_rdy_count": 100, "msg_timeout": 1500, "max_msg_timeout": 60_000}
    assert IdentifyReply.parse(reply) == IdentifyReply("1.3.0", 100, 1.5, 60.0)


def test_what_nsqd_leaves_out_has_its_default() -> None:
    assert IdentifyReply.parse({}) == IdentifyReply()


@pytest.mark.parametrize("value", ["100", None, 0, -1, 2.5, [1]])
def test_a_limit_that_is_no_positive_whole_number_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match="max_rdy_count"):
        IdentifyReply.parse({"max_rdy_count": value})


@pytest.mark.parametrize(
    ("reply", "options", "problem"),
    [
        pytest.param({"tls_v1": False}, {"tls": True}, ("E_INVALID", "no TLS"), id="no TLS"),
        pytest.param({}, {"tls": True}, ("E_INVALID", "no TLS"), id="TLS is not even named"),
        pytest.param({"auth_required": True}, {}, ("E_AUTH_FIRST", "auth_secret"), id="no secret to give"),
        pytest.param(
            {"max_msg_timeout": 60_000}, {"holds_s": 60.5}, ("E_INVALID", "60 s.* 60.5 s"), id="too short"
        ),
        pytest.param({"msg_timeout": 999}, {}, ("E_INVALID", "0.999 s.*1 s or more"), id="a lease too short"),
    ],
)
def test_an_nsqd_that_cannot_do_what_is_asked_is_not_used(
    reply: dict[str, object], options: dict[str, Any], problem: tuple[str, str]
) -> None:
    found = objection(reply, _options(**options))
    assert found is not None
    assert found[0] == problem[0]
    assert re.search(problem[1], found[1])


@pytest.mark.parametrize(
    ("reply", "options"),
    [
        pytest.param({}, {}, id="all by default"),
        pytest.param({"tls_v1": True}, {"tls": True}, id="TLS as asked for"),
        pytest.param({"auth_required": True}, {"auth_secret": "hush"}, id="a secret to give"),
        pytest.param({"max_msg_timeout": 60_000}, {"holds_s": 60.0}, id="just long enough"),
        pytest.param({"msg_timeout": 1000}, {}, id="the shortest lease that nsqd grants"),
        pytest.param(
            {"msg_timeout": 1}, {"msg_timeout_s": None}, id="a lease that a publisher does not need"
        ),
    ],
)
def test_an_nsqd_that_can_is_used(reply: dict[str, object], options: dict[str, Any]) -> None:
    assert objection(reply, _options(**options)) is None


@pytest.mark.parametrize(
    ("description", "text"),
    [
        pytest.param(b"IDENTIFY msg timeout (9) is invalid", "--max-msg-timeout", id="a lease"),
        pytest.param(b"IDENTIFY heartbeat interval (9) is invalid", "--max-heartbeat-interval", id="rare"),
        pytest.param(b"IDENTIFY output buffer size (9) is invalid", "--max-output-buffer-size", id="size"),
        pytest.param(
            b"IDENTIFY output buffer timeout (9) is invalid", "--max-output-buffer-timeout", id="its time"
        ),
        pytest.param(b"AUTH required before SUB", "set auth_secret", id="no secret"),
        pytest.param(b'AUTH failed for PUB on "a" ""', "must allow it for this auth_secret", id="no right"),
        pytest.param(b"AUTH failed", "does not accept this auth_secret", id="a wrong secret"),
        pytest.param(b"cannot SUB in current state (TLS required)", "tls=true", id="TLS is demanded"),
        pytest.param(b"SUB topic name is not valid", "valid", id="all that is clear already"),
        pytest.param(b"\xff", "\ufffd", id="no text"),
    ],
)
def test_a_refusal_says_what_to_change(description: bytes, text: str) -> None:
    assert explained(description).endswith(text)


def _options(*, tls: bool = False, **options: Any) -> ConnectionOptions:
    private = Tls(ssl.create_default_context()) if tls else None
    return ConnectionOptions(tls=private, **options)
