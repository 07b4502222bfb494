"""Valid conversations with the embedded broker, and ways to spoil them. Every draw comes from a seed."""

import json
import random
import struct
from dataclasses import dataclass

from tests.unit.devbroker.lookup_client import identify as lookup_identify
from tests.unit.devbroker.raw_client import dpub, identify, mpub, pub, sized

_ID = b"0000000000000001"
_NUMBERS = (
    b"",
    b"-1",
    b"0",
    b"1",
    b"2500",
    b"2501",
    b"3600001",
    b"9" * 30,
    b"1e3",
    b"0x1",
    b"\xd9\xa1",
    b" ",
)
_SIZES = tuple(struct.pack(">i", size) for size in (-(2**31), -1, 0, 1, 5, 1025, 2**20 + 1, 2**24, 2**31 - 1))
_NAMES = (
    b"",
    b"t",
    b"#ephemeral",
    b"t#ephemeral",
    b"a" * 64,
    b"a" * 65,
    b"a" * 5000,
    b"\xff\xfe",
    b"t\0",
    b"*",
)
_TOKENS = (
    *(
        b"IDENTIFY",
        b"AUTH",
        b"SUB",
        b"PUB",
        b"MPUB",
        b"DPUB",
        b"RDY",
        b"FIN",
        b"REQ",
        b"TOUCH",
        b"CLS",
        b"NOP",
    ),
    *(
        b"REGISTER",
        b"UNREGISTER",
        b"PING",
        b"  V1",
        b"  V2",
        b"\n",
        b"\r\n",
        b" ",
        b"\0",
        b"\xff" * 8,
        b"{",
        b"]",
    ),
    *(
        b"GET ",
        b"POST ",
        b"PUT ",
        b" HTTP/1.1\r\n",
        b"\r\n\r\n",
        b"Content-Length: -1\r\n",
        b"?topic=%zz",
        b"chunked",
    ),
)

COMMANDS = tuple(
    b"  V2" + talk
    for talk in (
        identify(feature_negotiation=True, client_id="c", heartbeat_interval=1000, sample_rate=1),
        identify(output_buffer_size=64, output_buffer_timeout=25, msg_timeout=1000) + b"SUB t c\nRDY 5\n",
        b"AUTH\n" + sized(b"secret"),
        pub("t", b"x") + mpub("t", b"one", b"two") + dpub("t", 10, b"later"),
        b"SUB t c\n"
        + pub("t", b"x", b"y")
        + b"RDY 2\nFIN "
        + _ID
        + b"\nREQ "
        + _ID
        + b" 0\nTOUCH "
        + _ID
        + b"\n",
        b"SUB t c#ephemeral\nRDY 1\nNOP\nCLS\nNOP\n",
        b"SUB t#ephemeral c#ephemeral\r\nRDY 2500\r\n" + mpub("t#ephemeral", *[b"z" * 200] * 20),
        b"NOP\n" * 50,
    )
)
LOOKUPS = tuple(
    b"  V1" + talk
    for talk in (
        lookup_identify() + b"REGISTER t c\nREGISTER u\nPING\nUNREGISTER t c\nUNREGISTER u\n",
        lookup_identify() + b"REGISTER t#ephemeral c#ephemeral\nUNREGISTER t#ephemeral\n",
        b"PING\nPING\r\n",
    )
)


def _request(line: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"{line} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


REQUESTS = (
    _request("GET /ping"),
    _request("GET /stats?format=json&topic=t&include_clients=false"),
    _request("GET /info") + _request("GET /stats", b"", "Connection: close"),
    _request("POST /pub?topic=t&defer=10", b"message"),
    _request("POST /mpub?topic=t", b"one\ntwo\n\nthree"),
    _request("POST /mpub?topic=t&binary=true", struct.pack(">i", 2) + sized(b"one", b"two")),
    _request("POST /topic/create?topic=t") + _request("POST /channel/create?topic=t&channel=c"),
    _request("POST /channel/pause?topic=t&channel=c") + _request("POST /channel/unpause?topic=t&channel=c"),
    _request("POST /topic/empty?topic=t") + _request("POST /topic/delete?topic=t"),
    _request("PUT /config/log_level", b"debug"),
    _request("PUT /config/nsqlookupd_tcp_addresses", json.dumps([]).encode()),
    b"POST /pub?topic=t HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    _request("OPTIONS /config/x", b"", "Expect: 100-continue"),
)
LOOKUP_REQUESTS = (
    _request("GET /lookup?topic=t") + _request("GET /nodes"),
    _request("POST /topic/create?topic=t") + _request("POST /topic/tombstone?topic=t&node=h:1"),
    _request("POST /channel/create?topic=t&channel=c") + _request("POST /channel/delete?topic=t&channel=c"),
)


@dataclass(frozen=True, slots=True)
class Spoiler:
    """A source of inputs, each made of a valid one."""

    draw: random.Random

    def one_of(self, seeds: tuple[bytes, ...]) -> bytes:
        """Return a seed, spoiled in one to four ways."""
        data = bytearray(self.draw.choice(seeds))
        for _ in range(self.draw.randint(1, 4)):
            self._spoil(data)
        return bytes(data)

    def _spoil(self, data: bytearray) -> None:
        draw = self.draw
        at, end = sorted((draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)))
        match draw.randrange(9):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << draw.randrange(8)
            case 1:
                del data[at : min(end, at + 16)]
            case 2:
                del data[end:]
            case 3:
                data[at:at] = draw.choice(_TOKENS)
            case 4:
                data[at : at + 4] = draw.choice(_SIZES)
            case 5:
                self._replace_word(data, draw.choice(_NUMBERS))
            case 6:
                self._replace_word(data, draw.choice(_NAMES))
            case 7:
                data[at:at] = data[at:end] * draw.randint(1, 3)
            case _:
                data[at:at] = draw.randbytes(draw.choice((1, 4, 64, 3000, 20_000)))

    def _replace_word(self, data: bytearray, word: bytes) -> None:
        """Put something else where a parameter was."""
        starts = [at + 1 for at, byte in enumerate(data) if byte in b" =/&"]
        if starts:
            start = self.draw.choice(starts)
            end = next((at for at in range(start, len(data)) if data[at] in b" \r\n&=/"), len(data))
            data[start:end] = word
