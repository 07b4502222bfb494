"""What is asked in IDENTIFY, and how nsqd's answer is read."""

import pytest

from nsqkit.nsq.identify import ConnectionOptions, IdentifyReply


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
