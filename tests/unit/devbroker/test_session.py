import struct

import pytest

from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.session import Session
from nsqkit.devbroker.wire import error_frame, message_frame, response_frame
from tests.unit.devbroker.protocol_errors import FATAL, LIMITS, SUB, UNKNOWN_ID, Mistake
from tests.unit.devbroker.raw_client import dpub, identify, mpub, pub, sized

OK = response_frame(b"OK")
CLOSE_WAIT = response_frame(b"CLOSE_WAIT")


class Talk:
    """One session on a ledger of its own, with a clock that stands still."""

    def __init__(self) -> None:
        self.ledger = Ledger(LIMITS)
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


@pytest.mark.parametrize("mistake", FATAL, ids=[mistake.id for mistake in FATAL])
def test_a_fatal_error_is_told_and_ends_the_session(talk: Talk, mistake: Mistake) -> None:
    code, _, description = mistake.error.partition(" ")
    out = talk.say(*mistake.said)
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


def test_a_client_that_hangs_up_in_the_middle_of_a_body_is_told(talk: Talk) -> None:
    talk.say(b"PUB t\n\0")
    talk.session.input_ended()
    talk.session.input_ended()
    assert talk.session.out == [error_frame("E_BAD_MESSAGE", "PUB failed to read message body size")]
    assert not talk.session.open


def test_one_that_hangs_up_between_commands_is_told_nothing(talk: Talk) -> None:
    talk.say(SUB)
    talk.session.input_ended()
    assert (talk.session.out, talk.session.open) == ([], True)


def test_bytes_that_are_no_text_come_back_as_they_are(talk: Talk) -> None:
    assert talk.say(b"\xff\n") == [b"\0\0\0\x1f\0\0\0\1E_INVALID invalid command \xff"]


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
