"""One fuzzing input for the two command parsers: bytes in, only what is documented out, however they are cut.

Used by ``fuzz_commands.py``, and by the tests on the corpus that it found.
"""

from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.lookupd_registry import Registry
from nsqkit.devbroker.lookupd_session import LookupSession
from nsqkit.devbroker.session import Session
from nsqkit.devbroker.wire import message_frame
from tests.fuzz.checks import check_frames, check_lookup_replies

LIMITS = Limits(max_msg_bytes=1024, max_body_bytes=8192)
MAX_WAITING_BYTES = 16 * 1024
"""No unfinished command is kept beyond this: the longest line, the largest body."""


def one_input(data: bytes) -> None:
    """Try one input: its first byte says how it is cut, the rest is what a client says."""
    if not data:
        return
    size, said = data[0] + 1, data[1:]
    if said.startswith(b"  V1"):
        _lookup(said, size)
    else:
        _commands(said, size)


def _commands(said: bytes, size: int) -> None:
    whole, cut = _replies(said, len(said) or 1), _replies(said, size)
    assert whole == cut
    ledger = Ledger(LIMITS)
    session = Session(ledger, "127.0.0.1")
    for now, chunk in enumerate(_chunks(said, size)):
        session.receive(chunk, now_s=now, timestamp_ns=now)
        if not session.open:
            session.end()
            break
        ledger.expire(now_s=now)
        session.out += [message_frame(copy) for _, copy in ledger.deliveries(now_s=now)]
        assert len(session._parser._waiting) <= MAX_WAITING_BYTES
    session.input_ended()
    fatal = check_frames(b"".join(session.out))
    assert not (fatal and session.open)
    _check_ledger(ledger)
    session.end()
    _check_ledger(ledger)


def _replies(said: bytes, size: int) -> list[bytes]:
    """Return the replies when nothing is delivered in between."""
    session = Session(Ledger(LIMITS), "127.0.0.1")
    for chunk in _chunks(said, size):
        session.receive(chunk, now_s=0.0, timestamp_ns=0)
    session.input_ended()
    return session.out


def _lookup(said: bytes, size: int) -> None:
    replies = []
    for each in (len(said), size):
        session = LookupSession(Registry(), "127.0.0.1:1", {"version": "1"})
        for chunk in _chunks(said, each):
            session.receive(chunk, now_s=0.0)
        session.input_ended()
        replies.append(b"".join(session.out))
        error = check_lookup_replies(replies[-1])
        assert not (error and session.open)
        session.end()
    assert replies[0] == replies[1]


def _chunks(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _check_ledger(ledger: Ledger) -> None:
    """Check that every count says what is there."""
    for topic in ledger.topics.values():
        for channel in topic.channels.values():
            held = [copy.consumer for copy in channel.in_flight.values()]
            for consumer in channel.consumers:
                assert consumer.in_flight_count == held.count(consumer) >= 0
            places = (channel.queued, channel.in_flight, channel.deferred)
            assert sum(map(len, places)) <= channel.message_count
