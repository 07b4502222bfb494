"""The answers to a message, as they go over the wire."""

import math

import pytest

from nsqkit.nsq.message import Message
from tests.unit.nsq.fake_link import FakeLink

ID = b"0123456789abcdef"


def message(wire: FakeLink) -> Message:
    return Message(ID, b"body", 1, 1, 0.0, wire)


def test_finish_touch_and_requeue_are_nsqs_commands() -> None:
    wire = FakeLink()
    assert message(wire).finish()
    assert message(wire).touch()
    assert message(wire).requeue(2.0)
    assert wire.commands == [b"FIN " + ID + b"\n", b"TOUCH " + ID + b"\n", b"REQ " + ID + b" 2000\n"]


@pytest.mark.parametrize(
    ("delay_s", "wire_ms"),
    [
        pytest.param(0, b"0", id="at once"),
        pytest.param(1.5, b"1500", id="a fraction of a second is kept"),
        pytest.param(0.0001, b"1", id="less than a millisecond is never early"),
        pytest.param(1.0004, b"1001", id="a fraction of a millisecond is rounded up"),
        pytest.param(-3.0, b"0", id="the past is now"),
        pytest.param(3600, b"3600000", id="an hour"),
    ],
)
def test_a_delay_goes_out_in_whole_milliseconds(delay_s: float, wire_ms: bytes) -> None:
    """Pynsq ignores delay=1.5, and writes time_ms=1.5 as it is, at which nsqd closes the connection."""
    wire = FakeLink()
    message(wire).requeue(delay_s)
    assert wire.commands == [b"REQ " + ID + b" " + wire_ms + b"\n"]


@pytest.mark.parametrize("delay_s", [math.nan, math.inf, -math.inf])
def test_a_delay_that_is_no_number_of_seconds_leaves_the_message_unanswered(delay_s: float) -> None:
    wire = FakeLink()
    unanswered = message(wire)
    with pytest.raises(ValueError, match="delay_s"):
        unanswered.requeue(delay_s)
    assert unanswered.finish()


@pytest.mark.parametrize("first", ["finish", "requeue"])
@pytest.mark.parametrize("second", ["finish", "requeue", "touch"])
def test_a_second_answer_is_refused(first: str, second: str) -> None:
    wire = FakeLink()
    answered = message(wire)
    arguments = {"finish": (), "requeue": (0.0,), "touch": ()}
    getattr(answered, first)(*arguments[first])
    with pytest.raises(RuntimeError, match="already"):
        getattr(answered, second)(*arguments[second])
    assert len(wire.commands) == 1


def test_an_answer_says_when_the_connection_is_gone() -> None:
    gone = FakeLink(is_alive=False)
    assert not message(gone).finish()
    assert not message(gone).requeue(1.0)
    assert not message(gone).touch()
    assert message(gone).is_lost()
    assert not message(FakeLink()).is_lost()


def test_a_message_knows_how_long_it_can_be_kept() -> None:
    assert (message(FakeLink()).lease_s, message(FakeLink()).max_lease_s) == (60.0, 900.0)


def test_a_message_shows_what_identifies_it_and_not_its_body() -> None:
    shown = repr(message(FakeLink()))
    assert "0123456789abcdef" in shown
    assert "orders" in shown
    assert "body" not in shown


def test_a_message_is_forgotten_once_and_not_after_an_answer() -> None:
    wire = FakeLink()
    answered, forgotten = message(wire), message(wire)
    answered.finish()
    answered.forget()
    assert wire.forgotten == 0
    forgotten.forget()
    forgotten.forget()
    assert wire.forgotten == 1
    with pytest.raises(RuntimeError, match="already"):
        forgotten.finish()
