"""What a client must not say, and nsqd's answer; the same table is tried on a real nsqd."""

from typing import NamedTuple

from nsqkit.devbroker.limits import Limits
from tests.unit.devbroker.raw_client import identify, mpub, pub, sized

LIMITS = Limits(max_msg_bytes=1000)
SUB = b"SUB t c\n"
UNKNOWN_ID = b"0123456789abcdef"


class Mistake(NamedTuple):
    """Commands, the error that the last of them gets, and why."""

    said: list[bytes]
    error: str
    id: str


FATAL = [
    Mistake([b"FOO a b\n"], "E_INVALID invalid command FOO", id="a command that does not exist"),
    Mistake([b"nop\n"], "E_INVALID invalid command nop", id="commands are upper case"),
    Mistake([b"\n"], "E_INVALID invalid command ", id="an empty line"),
    Mistake([b"AUTH\n" + sized(b"s")], "E_AUTH_DISABLED AUTH disabled", id="AUTH"),
    Mistake(
        [b"AUTH x\n" + sized(b"s")], "E_INVALID AUTH invalid number of parameters", id="AUTH with a parameter"
    ),
    Mistake([SUB, identify()], "E_INVALID cannot IDENTIFY in current state", id="IDENTIFY after SUB"),
    Mistake([SUB, b"AUTH\n"], "E_INVALID cannot AUTH in current state", id="AUTH after SUB"),
    Mistake([b"SUB\n"], "E_INVALID SUB insufficient number of parameters", id="SUB alone"),
    Mistake([b"SUB t\n"], "E_INVALID SUB insufficient number of parameters", id="SUB without channel"),
    Mistake([b"SUB t! c\n"], 'E_BAD_TOPIC SUB topic name "t!" is not valid', id="SUB to a bad topic"),
    Mistake([b"SUB t c!\n"], 'E_BAD_CHANNEL SUB channel name "c!" is not valid', id="a bad channel"),
    Mistake([SUB, SUB], "E_INVALID cannot SUB in current state", id="SUB twice"),
    Mistake(
        [identify(heartbeat_interval=-1), SUB],
        "E_INVALID cannot SUB with heartbeats disabled",
        id="SUB without heartbeats",
    ),
    Mistake([b"RDY 1\n"], "E_INVALID cannot RDY in current state", id="RDY before SUB"),
    Mistake([SUB, b"RDY x\n"], "E_INVALID RDY could not parse count x", id="RDY without a number"),
    Mistake([SUB, b"RDY -1\n"], "E_INVALID RDY could not parse count -1", id="a negative RDY"),
    Mistake([SUB, b"RDY 2501\n"], "E_INVALID RDY count 2501 out of range 0-2500", id="RDY too large"),
    Mistake([b"FIN " + UNKNOWN_ID + b"\n"], "E_INVALID cannot FIN in current state", id="FIN before SUB"),
    Mistake([SUB, b"FIN\n"], "E_INVALID FIN insufficient number of params", id="FIN of nothing"),
    Mistake([SUB, b"FIN 12\n"], "E_INVALID invalid message ID", id="FIN of a short id"),
    Mistake([b"REQ x 0\n"], "E_INVALID cannot REQ in current state", id="REQ before SUB"),
    Mistake(
        [SUB, b"REQ " + UNKNOWN_ID + b"\n"], "E_INVALID REQ insufficient number of params", id="no delay"
    ),
    Mistake([SUB, b"REQ 12 0\n"], "E_INVALID invalid message ID", id="REQ of a short id"),
    Mistake(
        [SUB, b"REQ " + UNKNOWN_ID + b" -1\n"],
        "E_INVALID REQ could not parse timeout -1",
        id="REQ to the past",
    ),
    Mistake([b"TOUCH x\n"], "E_INVALID cannot TOUCH in current state", id="TOUCH before SUB"),
    Mistake([SUB, b"TOUCH\n"], "E_INVALID TOUCH insufficient number of params", id="TOUCH of nothing"),
    Mistake([SUB, b"TOUCH 1\n"], "E_INVALID invalid message ID", id="TOUCH of a short id"),
    Mistake([b"CLS\n"], "E_INVALID cannot CLS in current state", id="CLS before SUB"),
    Mistake([SUB, b"CLS\nCLS\n"], "E_INVALID cannot CLS in current state", id="CLS twice"),
    Mistake([SUB, b"CLS\n", SUB], "E_INVALID cannot SUB in current state", id="SUB after CLS"),
    Mistake([b"PUB\n"], "E_INVALID PUB insufficient number of parameters", id="PUB to nothing"),
    Mistake([b"PUB t!\n"], 'E_BAD_TOPIC PUB topic name "t!" is not valid', id="PUB to a bad topic"),
    Mistake([b"PUB  \n"], 'E_BAD_TOPIC PUB topic name "" is not valid', id="PUB to an empty name"),
    Mistake([b"PUB \xff\n"], 'E_BAD_TOPIC PUB topic name "\\xff" is not valid', id="PUB to what is not text"),
    Mistake(
        [b"SUB t\0\x7f\t\\ c\n"],
        'E_BAD_TOPIC SUB topic name "t\\x00\\x7f\\t\\\\" is not valid',
        id="SUB to what cannot be printed",
    ),
    Mistake(
        ['SUB t \u00e9\u2028\U000e0001"\n'.encode()],
        'E_BAD_CHANNEL SUB channel name "\u00e9\\u2028\\U000e0001\\"" is not valid',
        id="SUB to what only partly can be",
    ),
    Mistake(
        [pub("#ephemeral", b"x")], 'E_BAD_TOPIC PUB topic name "#ephemeral" is not valid', id="a bare suffix"
    ),
    Mistake([pub("t", b"")], "E_BAD_MESSAGE PUB invalid message body size 0", id="an empty PUB"),
    Mistake(
        [pub("t", b"x" * 1001)], "E_BAD_MESSAGE PUB message too big 1001 > 1000", id="PUB over the limit"
    ),
    Mistake([b"MPUB\n"], "E_INVALID MPUB insufficient number of parameters", id="MPUB to nothing"),
    Mistake(
        [b"MPUB t!\n"], 'E_BAD_TOPIC E_BAD_TOPIC MPUB topic name "t!" is not valid', id="MPUB to a bad topic"
    ),
    Mistake([mpub("t")], "E_BAD_BODY MPUB invalid message count 0", id="an empty MPUB"),
    Mistake([b"DPUB t\n"], "E_INVALID DPUB insufficient number of parameters", id="DPUB without delay"),
    Mistake([b"DPUB t x\n"], "E_INVALID DPUB could not parse timeout x", id="DPUB without a number"),
    Mistake([b"DPUB t -1\n"], "E_INVALID DPUB could not parse timeout -1", id="DPUB to the past"),
    Mistake(
        [b"DPUB t 3600001\n"], "E_INVALID DPUB timeout 3600001 out of range 0-3600000", id="DPUB too late"
    ),
    Mistake([b"DPUB t! 1\n"], 'E_BAD_TOPIC DPUB topic name "t!" is not valid', id="DPUB to a bad topic"),
    Mistake(
        [identify(heartbeat_interval=1)],
        "E_BAD_BODY IDENTIFY heartbeat interval (1) is invalid",
        id="IDENTIFY out of range",
    ),
]
