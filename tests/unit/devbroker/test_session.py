import struct

import pytest

from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.session import Session
from nsqkit.devbroker.wire import error_frame, message_frame, response_frame
from tests.unit.devbroker.raw_client import dpub, identify, mpub, pub, sized

OK = response_frame(b"OK")
CLOSE_WAIT = response_frame(b"CLOSE_WAIT")
SUB = b"SUB t c\n"
UNKNOWN_ID = b"0123456789abcdef"


class Talk:
    """One session on a ledger of its own, with a clock that stands still."""

    def __init__(self) -> None:
        self.ledger = Ledger(Limits(max_msg_bytes=1000))
        self.session = Session(self.ledger, "127.0.0.1")
        self.say(b"  V2")

    def say(self, *data: bytes, now_s: float = 0.0) -> list[bytes]:
        self.session.receive(b"".join(data), now_s=now_s, timestamp_ns=1)
        self.session.out += [message_frame(d.copy) for d in self.ledger.deliveries(now_s=now_s)]
        out, self.session.out = self.session.out, []
        return out

    def receive_one(self) -> bytes:
        """Get a message in flight and return its id."""
        self.say(SUB, pub("t", b"x"), b"RDY 1\n")
        (message_id,) = self.ledger.topics["t"].channels["c"].in_flight
        return message_id


@pytest.fixture
def talk() -> Talk:
    return Talk()


FATAL = [
    pytest.param([b"FOO a b\n"], "E_INVALID invalid command FOO", id="a command that does not exist"),
    pytest.param([b"nop\n"], "E_INVALID invalid command nop", id="commands are upper case"),
    pytest.param([b"\n"], "E_INVALID invalid command ", id="an empty line"),
    pytest.param([b"AUTH\n" + sized(b"s")], "E_AUTH_DISABLED AUTH disabled", id="AUTH"),
    pytest.param(
        [b"AUTH x\n" + sized(b"s")], "E_INVALID AUTH invalid number of parameters", id="AUTH with a parameter"
    ),
    pytest.param([SUB, identify()], "E_INVALID cannot IDENTIFY in current state", id="IDENTIFY after SUB"),
    pytest.param([SUB, b"AUTH\n"], "E_INVALID cannot AUTH in current state", id="AUTH after SUB"),
    pytest.param([b"SUB\n"], "E_INVALID SUB insufficient number of parameters", id="SUB alone"),
    pytest.param([b"SUB t\n"], "E_INVALID SUB insufficient number of parameters", id="SUB without channel"),
    pytest.param([b"SUB t! c\n"], 'E_BAD_TOPIC SUB topic name "t!" is not valid', id="SUB to a bad topic"),
    pytest.param([b"SUB t c!\n"], 'E_BAD_CHANNEL SUB channel name "c!" is not valid', id="a bad channel"),
    pytest.param([SUB, SUB], "E_INVALID cannot SUB in current state", id="SUB twice"),
    pytest.param(
        [identify(heartbeat_interval=-1), SUB],
        "E_INVALID cannot SUB with heartbeats disabled",
        id="SUB without heartbeats",
    ),
    pytest.param([b"RDY 1\n"], "E_INVALID cannot RDY in current state", id="RDY before SUB"),
    pytest.param([SUB, b"RDY x\n"], "E_INVALID RDY could not parse count x", id="RDY without a number"),
    pytest.param([SUB, b"RDY -1\n"], "E_INVALID RDY could not parse count -1", id="a negative RDY"),
    pytest.param([SUB, b"RDY 2501\n"], "E_INVALID RDY count 2501 out of range 0-2500", id="RDY too large"),
    pytest.param([b"FIN " + UNKNOWN_ID + b"\n"], "E_INVALID cannot FIN in current state", id="FIN before SUB"),
    pytest.param([SUB, b"FIN\n"], "E_INVALID FIN insufficient number of params", id="FIN of nothing"),
    pytest.param([SUB, b"FIN 12\n"], "E_INVALID invalid message ID", id="FIN of a short id"),
    pytest.param([b"REQ x 0\n"], "E_INVALID cannot REQ in current state", id="REQ before SUB"),
    pytest.param(
        [SUB, b"REQ " + UNKNOWN_ID + b"\n"], "E_INVALID REQ insufficient number of params", id="no delay"
    ),
    pytest.param([SUB, b"REQ 12 0\n"], "E_INVALID invalid message ID", id="REQ of a short id"),
    pytest.param(
        [SUB, b"REQ " + UNKNOWN_ID + b" -1\n"], "E_INVALID REQ could not parse timeout -1", id="REQ to the past"
    ),
    pytest.param([b"TOUCH x\n"], "E_INVALID cannot TOUCH in current state", id="TOUCH before SUB"),
    pytest.param([SUB, b"TOUCH\n"], "E_INVALID TOUCH insufficient number of params", id="TOUCH of nothing"),
    pytest.param([SUB, b"TOUCH 1\n"], "E_INVALID invalid message ID", id="TOUCH of a short id"),
    pytest.param([b"CLS\n"], "E_INVALID cannot CLS in current state", id="CLS before SUB"),
    pytest.param([SUB, b"CLS\nCLS\n"], "E_INVALID cannot CLS in current state", id="CLS twice"),
    pytest.param([SUB, b"CLS\n", SUB], "E_INVALID cannot SUB in current state", id="SUB after CLS"),
    pytest.param([b"PUB\n"], "E_INVALID PUB insufficient number of parameters", id="PUB to nothing"),
    pytest.param([b"PUB t!\n"], 'E_BAD_TOPIC PUB topic name "t!" is not valid', id="PUB to a bad topic"),
    pytest.param([b"PUB  \n"], 'E_BAD_TOPIC PUB topic name "" is not valid', id="PUB to an empty name"),
    pytest.param(
        [b"PUB \xff\n"], 'E_BAD_TOPIC PUB topic name "\\xff" is not valid', id="PUB to what is not text"
    ),
    pytest.param(
        [pub("#ephemeral", b"x")], 'E_BAD_TOPIC PUB topic name "#ephemeral" is not valid', id="a bare suffix"
    ),
    pytest.param([pub("t", b"")], "E_BAD_MESSAGE PUB invalid message body size 0", id="an empty PUB"),
    pytest.param(
        [pub("t", b"x" * 1001)], "E_BAD_MESSAGE PUB message too big 1001 > 1000", id="PUB over the limit"
    ),
    pytest.param([b"MPUB\n"], "E_INVALID MPUB insufficient number of parameters", id="MPUB to nothing"),
    pytest.param(
        [b"MPUB t!\n"], 'E_BAD_TOPIC E_BAD_TOPIC MPUB topic name "t!" is not valid', id="MPUB to a bad topic"
    ),
    pytest.param([mpub("t")], "E_BAD_BODY MPUB invalid message count 0", id="an empty MPUB"),
    pytest.param([b"DPUB t\n"], "E_INVALID DPUB insufficient number of parameters", id="DPUB without delay"),
    pytest.param([b"DPUB t x\n"], "E_INVALID DPUB could not parse timeout x", id="DPUB without a number"),
    pytest.param([b"DPUB t -1\n"], "E_INVALID DPUB could not parse timeout -1", id="DPUB to the past"),
    pytest.param(
        [b"DPUB t 3600001\n"], "E_INVALID DPUB timeout 3600001 out of range 0-3600000", id="DPUB too late"
    ),
    pytest.param([b"DPUB t! 1\n"], 'E_BAD_TOPIC DPUB topic name "t!" is not valid', id="DPUB to a bad topic"),
    pytest.param(
        [identify(heartbeat_interval=1)],
        "E_BAD_BODY IDENTIFY heartbeat interval (1) is invalid",
        id="IDENTIFY out of range",
    ),
]


@pytest.mark.parametrize(("said", "error"), FATAL)
def test_a_fatal_error_is_told_and_ends_the_session(talk: Talk, said: list[bytes], error: str) -> None:
    code, _, description = error.partition(" ")
    out = talk.say(*said)
    assert out[-1] == error_frame(code, description)
    assert not talk.session.open
    assert talk.say(b"NOP\n") == []


@pytest.mark.parametrize("verb", ["FIN", "REQ", "TOUCH"])
def test_settling_what_is_not_held_is_told_and_harmless(talk: Talk, verb: str) -> None:
    talk.say(SUB)
    command = f"{verb} {UNKNOWN_ID.decode()}{' 0' if verb == 'REQ' else ''}\n".encode()
    expected = error_frame(f"E_{verb}_FAILED", f"{verb} {UNKNOWN_ID.decode()} failed ID not in flight")
    assert talk.say(command, pub("t", b"x")) == [expected, OK]
    assert talk.session.open


def test_settling_what_another_client_holds_is_told_and_harmless(talk: Talk) -> None:
    message_id = talk.receive_one()
    other = Session(talk.ledger, "127.0.0.1")
    other.receive(b"  V2" + SUB + b"FIN " + message_id + b"\n", now_s=0.0, timestamp_ns=1)
    description = f"FIN {message_id.decode()} failed client does not own message"
    assert other.out == [OK, error_frame("E_FIN_FAILED", description)]
    assert other.open


def test_an_overlong_line_ends_the_session_without_a_word(talk: Talk) -> None:
    assert talk.say(b"X" * 20_000) == []
    assert not talk.session.open


def test_a_bad_magic_is_told() -> None:
    session = Session(Ledger(), "127.0.0.1")
    session.receive(b"  V1", now_s=0.0, timestamp_ns=1)
    assert session.out == [error_frame("E_BAD_PROTOCOL")]


class TestReplies:
    @pytest.mark.parametrize(
        "command",
        [
            pytest.param(pub("t", b"x"), id="PUB"),
            pytest.param(mpub("t", b"x", b"y"), id="MPUB"),
            pytest.param(dpub("t", 3_600_000, b"x"), id="DPUB at its limit"),
            pytest.param(b"DPUB t \n" + sized(b"x"), id="an empty number is 0"),
            pytest.param(b"PUB t extra\n" + sized(b"x"), id="a parameter too many"),
            pytest.param(b"PUB " + b"a" * 64 + b"\n" + sized(b"x"), id="the longest name"),
            pytest.param(identify(), id="IDENTIFY"),
            pytest.param(b"IDENTIFY extra\n" + sized(b"null"), id="IDENTIFY of nothing"),
            pytest.param(SUB, id="SUB"),
            pytest.param(b"SUB t c d\n", id="SUB with a parameter too many"),
        ],
    )
    def test_ok(self, talk: Talk, command: bytes) -> None:
        assert talk.say(command) == [OK]

    @pytest.mark.parametrize("command", [b"RDY 5\n", b"RDY\n", b"NOP\n", b"NOP a b\n", b"RDY 1 2\n"])
    def test_none(self, talk: Talk, command: bytes) -> None:
        talk.say(SUB)
        assert talk.say(command) == []

    def test_settling_has_no_reply(self, talk: Talk) -> None:
        message_id = talk.receive_one()
        assert talk.say(b"TOUCH " + message_id + b"\n") == []
        assert talk.say(b"RDY 0\nREQ " + message_id + b" 0\n") == []
        talk.say(b"RDY 1\n")
        assert talk.say(b"FIN " + message_id + b"\n") == []

    def test_replies_come_in_the_order_of_the_commands(self, talk: Talk) -> None:
        assert talk.say(SUB, pub("t", b"x"), b"CLS\n") == [OK, OK, CLOSE_WAIT]


class TestEffects:
    def test_a_message_is_delivered_as_published(self, talk: Talk) -> None:
        talk.say(SUB, b"RDY 1\n")
        ok, message = talk.say(pub("t", b"body"))
        assert ok == OK
        assert struct.unpack(">iiqH", message[:18]) == (34, 2, 1, 1)
        assert message[34:] == b"body"

    def test_mpub_with_one_bad_message_publishes_none(self, talk: Talk) -> None:
        talk.say(mpub("t", b"x", b""))
        assert "t" not in talk.ledger.topics

    def test_cls_sets_ready_to_zero_and_later_ready_is_ignored_whatever_it_says(self, talk: Talk) -> None:
        message_id = talk.receive_one()
        assert talk.say(b"CLS\n", pub("t", b"y"), b"RDY 5\nRDY x\n") == [CLOSE_WAIT, OK]
        assert talk.say(b"FIN " + message_id + b"\n") == []
        assert talk.session.open

    @pytest.mark.parametrize("delay_ms", ["3600001", "99999999999", "9" * 5000])
    def test_a_requeue_over_the_limit_is_clamped(self, talk: Talk, delay_ms: str) -> None:
        message_id = talk.receive_one()
        assert talk.say(b"REQ " + message_id + b" " + delay_ms.encode() + b"\n") == []
        assert talk.ledger.next_deadline_s() == 3600.0

    def test_milliseconds_become_seconds(self, talk: Talk) -> None:
        message_id = talk.receive_one()
        talk.say(b"REQ " + message_id + b" 1500\n", now_s=10.0)
        assert talk.ledger.next_deadline_s() == 11.5

    def test_a_clients_timeout_holds_for_what_it_gets(self, talk: Talk) -> None:
        talk.say(identify(msg_timeout=2000))
        talk.receive_one()
        assert talk.ledger.next_deadline_s() == 2.0

    def test_what_a_client_published_is_counted_by_topic(self, talk: Talk) -> None:
        talk.say(pub("a", b"x"), mpub("b", b"x", b"y"), dpub("a", 0, b"x"))
        assert talk.session.published == {"a": 2, "b": 2}

    def test_the_end_leaves_the_channel(self, talk: Talk) -> None:
        talk.say(b"SUB t c#ephemeral\n")
        talk.session.end()
        assert not talk.ledger.topics["t"].channels
