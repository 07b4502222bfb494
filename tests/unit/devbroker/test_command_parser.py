import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.devbroker.command_parser import Command, CommandParser, OverlongLineError
from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.wire import ProtocolError

LIMITS = Limits(max_msg_bytes=100, max_body_bytes=300)


def sized(*bodies: bytes) -> bytes:
    return b"".join(struct.pack(">i", len(body)) + body for body in bodies)


def mpub(topic: bytes, *bodies: bytes) -> bytes:
    return b"MPUB " + topic + b"\n" + sized(struct.pack(">i", len(bodies)) + sized(*bodies))


def parser(admitted: list[bytes] | None = None) -> CommandParser:
    return CommandParser(LIMITS, lambda name, _params: None if admitted is None else admitted.append(name))


def commands(*chunks: bytes) -> list[Command]:
    reader = parser()
    return [command for chunk in chunks for command in reader.feed(chunk)]


STREAM = (
    b"  V2"
    b"IDENTIFY\n"
    + sized(b"{}")
    + b"SUB t c\r\n"
    + b"RDY 5\n"
    + b"PUB t\n"
    + sized(b"line\nbreak and \x00")
    + mpub(b"t", b"one", b"\n", b"three")
    + b"DPUB t 10\n"
    + sized(b"later")
    + b"FIN 0123456789abcdef\n"
    + b"NOP\n"
)
COMMANDS = [
    Command(b"IDENTIFY", [], (b"{}",)),
    Command(b"SUB", [b"t", b"c"]),
    Command(b"RDY", [b"5"]),
    Command(b"PUB", [b"t"], (b"line\nbreak and \x00",)),
    Command(b"MPUB", [b"t"], (b"one", b"\n", b"three")),
    Command(b"DPUB", [b"t", b"10"], (b"later",)),
    Command(b"FIN", [b"0123456789abcdef"]),
    Command(b"NOP", []),
]


class TestParsing:
    def test_a_chunk_of_many_commands(self) -> None:
        assert commands(STREAM) == COMMANDS

    @pytest.mark.parametrize("at", range(1, len(STREAM)))
    def test_a_stream_cut_at_any_byte(self, at: int) -> None:
        assert commands(STREAM[:at], STREAM[at:]) == COMMANDS

    def test_a_stream_byte_by_byte(self) -> None:
        assert commands(*(STREAM[at : at + 1] for at in range(len(STREAM)))) == COMMANDS

    @given(st.sets(st.integers(1, len(STREAM) - 1)))
    def test_a_stream_cut_anywhere(self, cuts: set[int]) -> None:
        edges = [0, *sorted(cuts), len(STREAM)]
        chunks = [STREAM[start:end] for start, end in pairwise(edges)]
        assert commands(*chunks) == COMMANDS

    def test_commands_come_out_before_a_later_one_fails(self) -> None:
        reader = parser().feed(b"  V2NOP\nPUB t\n" + sized(b""))
        assert next(reader) == Command(b"NOP", [])
        with pytest.raises(ProtocolError):
            next(reader)

    def test_a_body_is_not_waited_for_before_its_line_is_admitted(self) -> None:
        admitted: list[bytes] = []
        assert list(parser(admitted).feed(b"  V2PUB t\n")) == []
        assert admitted == [b"PUB"]

    def test_the_count_of_mpub_decides_where_it_ends_not_its_size(self) -> None:
        data = b"MPUB t\n" + sized(struct.pack(">i", 1) + sized(b"x") + b"NOP\n")
        assert commands(b"  V2" + data) == [Command(b"MPUB", [b"t"], (b"x",)), Command(b"NOP", [])]

    def test_one_mpub_after_another(self) -> None:
        data = b"  V2" + mpub(b"t", b"x", b"y") + mpub(b"t", b"z")
        assert [command.bodies for command in commands(data)] == [(b"x", b"y"), (b"z",)]

    def test_a_large_body_in_small_chunks_is_copied_once(self) -> None:
        reader = CommandParser(Limits(), lambda _name, _params: None)
        body = b"x" * 1_000_000
        data = b"  V2PUB t\n" + sized(body)
        found = [c for at in range(0, len(data), 100) for c in reader.feed(data[at : at + 100])]
        assert found == [Command(b"PUB", [b"t"], (body,))]


@pytest.mark.parametrize(
    ("data", "code", "description"),
    [
        pytest.param(b"  V1", "E_BAD_PROTOCOL", "", id="a magic of another version"),
        pytest.param(b"GET / HTTP/1.1\r\n", "E_BAD_PROTOCOL", "", id="a browser"),
        pytest.param(
            b"  V2PUB t\n" + sized(b""), "E_BAD_MESSAGE", "PUB invalid message body size 0", id="empty PUB"
        ),
        pytest.param(
            b"  V2PUB t\n" + struct.pack(">i", -5),
            "E_BAD_MESSAGE",
            "PUB invalid message body size -5",
            id="a negative size",
        ),
        pytest.param(
            b"  V2DPUB t 1\n" + struct.pack(">i", 101),
            "E_BAD_MESSAGE",
            "DPUB message too big 101 > 100",
            id="a size over the limit, before its body",
        ),
        pytest.param(
            b"  V2IDENTIFY\n" + sized(b""), "E_BAD_BODY", "IDENTIFY invalid body size 0", id="empty IDENTIFY"
        ),
        pytest.param(
            b"  V2IDENTIFY\n" + struct.pack(">i", 301),
            "E_BAD_BODY",
            "IDENTIFY body too big 301 > 300",
            id="large IDENTIFY",
        ),
        pytest.param(
            b"  V2MPUB t\n" + struct.pack(">i", 301),
            "E_BAD_BODY",
            "MPUB body too big 301 > 300",
            id="large MPUB",
        ),
        pytest.param(
            b"  V2MPUB t\n" + struct.pack(">i", 0), "E_BAD_BODY", "MPUB invalid body size 0", id="empty MPUB"
        ),
        pytest.param(b"  V2" + mpub(b"t"), "E_BAD_BODY", "MPUB invalid message count 0", id="MPUB of none"),
        pytest.param(
            b"  V2MPUB t\n" + sized(struct.pack(">i", 60)),
            "E_BAD_BODY",
            "MPUB invalid message count 60",
            id="MPUB of more than a body can hold",
        ),
        pytest.param(
            b"  V2" + mpub(b"t", b"x", b""),
            "E_BAD_MESSAGE",
            "MPUB invalid message(1) body size 0",
            id="MPUB with an empty message",
        ),
        pytest.param(
            b"  V2" + mpub(b"t", b"x" * 101),
            "E_BAD_MESSAGE",
            "MPUB message too big 101 > 100",
            id="MPUB with a large message",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes, code: str, description: str) -> None:
    for chunks in ([data], [data[at : at + 1] for at in range(len(data))]):
        with pytest.raises(ProtocolError) as caught:
            commands(*chunks)
        assert (caught.value.code, caught.value.description) == (code, description)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(b"PUB", None, id="half a line"),
        pytest.param(b"NOP\n", None, id="a whole command"),
        pytest.param(b"IDENTIFY\n", "E_BAD_BODY IDENTIFY failed to read body size", id="no size"),
        pytest.param(b"AUTH\n\0\0\0\5abcd", "E_BAD_BODY AUTH failed to read body", id="half a body"),
        pytest.param(b"PUB t\n\0\0", "E_BAD_MESSAGE PUB failed to read message body size", id="half a size"),
        pytest.param(b"DPUB t 1\n\0\0\0\5", "E_BAD_MESSAGE DPUB failed to read message body", id="no body"),
        pytest.param(b"MPUB t\n\0\0", "E_BAD_BODY MPUB failed to read body size", id="half an outer size"),
        pytest.param(
            b"MPUB t\n\0\0\0\5\0", "E_BAD_BODY MPUB failed to read message count", id="half a count"
        ),
        pytest.param(
            mpub(b"t", b"one", b"two")[:-6],
            "E_BAD_MESSAGE MPUB failed to read message(1) body size",
            id="half a member's size",
        ),
        pytest.param(
            mpub(b"t", b"one", b"two")[:-1],
            "E_BAD_MESSAGE MPUB failed to read message body",
            id="half a member",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_a_client_left_out_is_named(said: bytes, problem: str | None, size: int) -> None:
    reader = parser()
    for at in range(0, len(b"  V2" + said), size):
        list(reader.feed((b"  V2" + said)[at : at + size]))
    error = reader.unfinished()
    assert (error and f"{error.code} {error.description}") == problem


class TestLongLines:
    def test_a_line_may_fill_the_read_buffer(self) -> None:
        line = b"X" * (16 * 1024 - 1)
        assert commands(b"  V2", line + b"\n") == [Command(line, [])]

    @pytest.mark.parametrize("tail", [b"\n", b""])
    def test_a_longer_one_is_refused_whether_it_ends_or_not(self, tail: bytes) -> None:
        with pytest.raises(OverlongLineError):
            commands(b"  V2", b"X" * (16 * 1024), tail)
