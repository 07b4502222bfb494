import json
import struct

import pytest

from nsqkit.devbroker.lookupd_registry import ANY, CLIENT, Registry
from nsqkit.devbroker.lookupd_session import LookupSession
from tests.unit.devbroker.lookup_client import NSQD, identify
from tests.unit.devbroker.raw_client import sized

INFO: dict[str, str | int] = {"tcp_port": 4160, "http_port": 4161, "version": "1.3.0"}


class Talk:
    """One session on a registry of its own."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.session = LookupSession(self.registry, "127.0.0.1:5", INFO)
        self.now_s = 0.0
        self.say(b"  V1")

    def say(self, *data: bytes) -> list[bytes]:
        self.session.receive(b"".join(data), now_s=self.now_s)
        out, self.session.out = self.session.out, []
        for reply in out:
            assert struct.unpack(">i", reply[:4]) == (len(reply) - 4,)
        return [reply[4:] for reply in out]


@pytest.fixture
def talk() -> Talk:
    return Talk()


def test_identify_is_answered_with_what_nsqlookupd_is(talk: Talk) -> None:
    (reply,) = talk.say(identify())
    assert json.loads(reply) == INFO
    (producer,) = talk.registry.producers(*CLIENT)
    assert producer.peer.node.broadcast_address == NSQD["broadcast_address"]
    assert producer.peer.node.remote_address == "127.0.0.1:5"


def test_a_channel_registers_its_topic_too(talk: Talk) -> None:
    assert talk.say(identify(), b"REGISTER t c\n")[1:] == [b"OK"]
    assert len(talk.registry.producers("topic", "t")) == 1
    assert len(talk.registry.producers("channel", "t", "c")) == 1


def test_unregistering_a_topic_unregisters_its_channels(talk: Talk) -> None:
    talk.say(identify(), b"REGISTER t c\nUNREGISTER t\n")
    assert not talk.registry.producers("channel", "t", "c")
    assert talk.registry.find("channel", "t", "c")


@pytest.mark.parametrize("name", ["t c#ephemeral", "t#ephemeral"])
def test_what_is_ephemeral_goes_with_its_last_producer(talk: Talk, name: str) -> None:
    talk.say(identify(), f"REGISTER {name}\nUNREGISTER {name}\n".encode())
    assert not [each for each in talk.registry.find("channel", ANY, ANY) if "#" in each.subkey]
    assert not [each for each in talk.registry.find("topic", ANY) if "#" in each.key]


def test_the_end_forgets_the_nsqd_and_keeps_what_it_had(talk: Talk) -> None:
    talk.say(identify(), b"REGISTER t c\n")
    talk.session.end()
    assert not talk.registry.producers(*CLIENT)
    assert not talk.registry.producers("topic", "t")
    assert talk.registry.find("channel", "t", "c")


def test_an_end_before_identify_does_nothing(talk: Talk) -> None:
    talk.session.end()


def test_a_ping_is_a_sign_of_life(talk: Talk) -> None:
    talk.say(identify())
    talk.now_s = 10.0
    assert talk.say(b"PING\n") == [b"OK"]
    (producer,) = talk.registry.producers(*CLIENT)
    assert producer.peer.heard_s == 10.0


def test_a_stream_cut_anywhere_is_understood(talk: Talk) -> None:
    replies = []
    for byte in identify() + b"REGISTER t c\r\nPING\n":
        replies += talk.say(bytes([byte]))
    assert replies[1:] == [b"OK", b"OK"]


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        ([b"FOO\n"], b"E_INVALID invalid command FOO"),
        ([b"REGISTER t\n"], b"E_INVALID client must IDENTIFY"),
        ([identify(), identify()], b"E_INVALID cannot IDENTIFY again"),
        ([identify(), b"REGISTER\n"], b"E_INVALID REGISTER insufficient number of params"),
        ([identify(), b"REGISTER t!\n"], b"E_BAD_TOPIC REGISTER topic name 't!' is not valid"),
        ([identify(), b"UNREGISTER t c!\n"], b"E_BAD_CHANNEL UNREGISTER channel name 'c!' is not valid"),
        ([identify(tcp_port=0)], b"E_BAD_BODY IDENTIFY missing fields"),
        ([identify(tcp_port="x")], b"E_BAD_BODY IDENTIFY failed to decode JSON body"),
        ([identify(tcp_port=2**63)], b"E_BAD_BODY IDENTIFY failed to decode JSON body"),
        ([b"IDENTIFY\n" + sized(b"{")], b"E_BAD_BODY IDENTIFY failed to decode JSON body"),
        ([b"IDENTIFY\n" + sized(b"[]")], b"E_BAD_BODY IDENTIFY failed to decode JSON body"),
        ([b"IDENTIFY\n" + struct.pack(">i", -1)], b"E_BAD_BODY IDENTIFY failed to read body"),
        ([b"IDENTIFY\n" + struct.pack(">i", 2**31 - 1)], b"E_BAD_BODY IDENTIFY failed to read body"),
    ],
    ids=repr,
)
def test_an_error_is_told_and_ends_the_session(talk: Talk, said: list[bytes], reply: bytes) -> None:
    assert talk.say(*said)[-1] == reply
    assert not talk.session.open
    assert talk.say(b"PING\n") == []


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        (b"IDENTIFY\n\0\0", b"E_BAD_BODY IDENTIFY failed to read body size"),
        (b"IDENTIFY\n\0\0\0\5abc", b"E_BAD_BODY IDENTIFY failed to read body"),
    ],
)
def test_an_nsqd_that_hangs_up_in_the_middle_of_a_body_is_told(talk: Talk, said: bytes, reply: bytes) -> None:
    assert talk.say(said) == []
    talk.session.input_ended()
    assert talk.session.out == [sized(reply)]
    assert not talk.session.open


def test_one_that_hangs_up_between_commands_is_told_nothing(talk: Talk) -> None:
    talk.say(b"PI")
    talk.session.input_ended()
    assert talk.session.out == []


def test_a_bad_magic_is_told() -> None:
    session = LookupSession(Registry(), "127.0.0.1:5", INFO)
    session.receive(b"  V2", now_s=0.0)
    assert session.out == [sized(b"E_BAD_PROTOCOL")]
    assert not session.open


def test_an_overlong_line_ends_the_session_without_a_word(talk: Talk) -> None:
    assert talk.say(b"X" * 20_000) == []
    assert not talk.session.open
