"""Wrong ports: recognise from what a server sends that an address is another port of NSQ."""

from nsqkit.nsq.dial import dial
from nsqkit.nsq.time_limit import TimeLimit
from nsqkit.policy.address import split_address

HTTP_PORTS = "the HTTP port of nsqd is usually 4151, that of nsqlookupd 4161"
_HINTS = {
    b"NOT_FOUND": HTTP_PORTS,
    b"to an HTTPS server": f"this is an HTTPS port; {HTTP_PORTS}",
    b"TLS_REQUIRED": "nsqd's HTTP port is not encrypted only with --tls-required=tcp-https",
}
_NSQD_PORT = "give nsqd's TCP port, usually 4150"
_NO_MAGIC = b"HTTP"  # four bytes, as the name of a protocol, so that the server leaves none unread
_BAD_PROTOCOL = b"E_BAD_PROTOCOL"
_ANSWER_BYTES = 4 + len(_BAD_PROTOCOL)


def not_nsqd(header: bytes) -> str | None:
    """Return what answers instead of nsqd's TCP port; None if it may be one.

    Args:
        header: The first 8 bytes that came after nsqd's protocol was named.

    Source:
        nsqlookupd/tcp.go sends its error without a frame type.
    """
    if header.startswith(b"HTTP"):
        return f"this is an HTTP port; {_NSQD_PORT}"
    if header[4:] == _BAD_PROTOCOL[:4]:
        return f"this is nsqlookupd's TCP port; {_NSQD_PORT}"
    return None


def not_http(answer: bytes) -> str | None:
    """Return whose TCP port answers instead of an HTTP port; None if it is not one of NSQ.

    Args:
        answer: The first 18 bytes that came after a protocol was named that neither server knows.

    Source:
        nsqd/tcp.go, nsqlookupd/tcp.go.
    """
    for name, error in (("nsqlookupd", answer[4:]), ("nsqd", answer[8:])):
        if error and _BAD_PROTOCOL.startswith(error):
            return f"this is {name}'s TCP port; {HTTP_PORTS}"
    return None


def refusal_hint(answer: bytes) -> str:
    """Return what to change if a server refuses a request over HTTP because it is another port; else nothing.

    Args:
        answer: The body of the answer.

    Source:
        nsqd/http.go (newHTTPServer), net/http of Go.
    """
    return next((f"; {hint}" for text, hint in _HINTS.items() if text in answer), "")


def not_json(answer: bytes) -> str | None:
    """Return what answers with a web page instead of JSON; None if it is not one."""
    is_page = answer[:64].lstrip().startswith(b"<")
    return f"this is a web page, such as nsqadmin's; {HTTP_PORTS}" if is_page else None


async def tcp_port_at(address: str, timeout_s: float) -> str | None:
    """Return whose TCP port an address is that does not answer over HTTP; None if it is not one of NSQ.

    Args:
        address: ``host:port`` of the server.
        timeout_s: Time limit in seconds, for each of connect and answer.
    """
    try:
        stream = await dial(*split_address(address), timeout_s)
    except OSError:
        return None
    try:
        async with TimeLimit(timeout_s):
            stream.write(_NO_MAGIC)
            answer = b""
            while len(answer) < _ANSWER_BYTES:
                answer += await stream.read()
            return not_http(answer[:_ANSWER_BYTES])
    except OSError:
        return None
    finally:
        stream.close()
