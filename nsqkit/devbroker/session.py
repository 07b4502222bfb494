"""One client's connection as a state machine: executes its commands on the ledger and queues the replies.

Pure: the time is passed in, and the server writes the frames in ``out``.
"""

from collections.abc import Callable
from typing import ClassVar

from nsqkit.devbroker.channel import SettleError
from nsqkit.devbroker.command_parser import CommandParser, OverlongLineError
from nsqkit.devbroker.consumer import Consumer
from nsqkit.devbroker.identify import Identity, anonymous, identify, identify_reply
from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.wire import ProtocolError, error_frame, quoted, response_frame, text
from nsqkit.policy.names import channel_problem, topic_problem

_OK = response_frame(b"OK")
_CLOSE_WAIT = response_frame(b"CLOSE_WAIT")
_ID_BYTES = 16
_MAX_DIGITS = 18


class Session:
    """The protocol state of one connection.

    ``open`` turns False when the connection must close; ``out`` is still to be written then.

    Args:
        ledger: The broker's state.
        host: The client's host, which is its name until IDENTIFY gives another.

    Source:
        nsqd/protocol_v2.go.
    """

    def __init__(self, ledger: Ledger, host: str) -> None:
        self.out: list[bytes] = []
        self.open = True
        self.identity: Identity = anonymous(host, ledger.limits)
        self.consumer: Consumer | None = None
        self.published: dict[str, int] = {}
        self._ledger = ledger
        self._limits = ledger.limits
        self._parser = CommandParser(ledger.limits, self._admit)
        self._now_s = 0.0
        self._timestamp_ns = 0

    def receive(self, chunk: bytes, *, now_s: float, timestamp_ns: int) -> None:
        """Execute the commands that a chunk completes; none once the session is over.

        Args:
            chunk: Bytes from the client; they may end anywhere.
            now_s: The ledger's time.
            timestamp_ns: Wall clock, nanoseconds since 1970, for what is published.
        """
        if not self.open:
            return
        self._now_s, self._timestamp_ns = now_s, timestamp_ns
        try:
            for name, params, bodies in self._parser.feed(chunk):
                self._execute(name, params, bodies)
        except ProtocolError as error:
            self.out.append(error_frame(error.code, error.description))
            self.open = False
        except OverlongLineError:
            self.open = False

    def input_ended(self) -> None:
        """Answer with an error if the client hung up in the middle of a body."""
        error = self._parser.unfinished() if self.open else None
        if error is not None:
            self.out.append(error_frame(error.code, error.description))
            self.open = False

    def end(self) -> None:
        """Leave the channel, because the connection is gone, and free an unfinished body.

        Session and parser refer to each other: the body would wait for the garbage collector.
        """
        self._parser.discard()
        if self.consumer is not None:
            self._ledger.unsubscribe(self.consumer)

    def _execute(self, name: bytes, params: list[bytes], bodies: tuple[bytes, ...]) -> None:
        handle = self._COMMANDS.get(name)
        if handle is None:
            raise ProtocolError("E_INVALID", f"invalid command {text(name)}")
        handle(self, params, bodies)

    def _admit(self, name: bytes, params: list[bytes]) -> None:
        """Refuse a command by its line alone, before its body has arrived."""
        verb = name.decode()
        if verb in {"IDENTIFY", "AUTH"}:
            if self.consumer is not None:
                raise ProtocolError("E_INVALID", f"cannot {verb} in current state")
            if verb == "AUTH" and params:
                raise ProtocolError("E_INVALID", "AUTH invalid number of parameters")
            return
        if len(params) < (2 if verb == "DPUB" else 1):
            raise ProtocolError("E_INVALID", f"{verb} insufficient number of parameters")
        self._topic(verb, params[0])
        if verb == "DPUB":
            self._defer_ms(params[1])

    def _identify(self, _params: list[bytes], bodies: tuple[bytes, ...]) -> None:
        self.identity = identify(bodies[0], self._limits)
        self.out.append(response_frame(identify_reply(self.identity, self._limits)))

    def _auth(self, _params: list[bytes], _bodies: tuple[bytes, ...]) -> None:
        raise ProtocolError("E_AUTH_DISABLED", "AUTH disabled")

    def _sub(self, params: list[bytes], _bodies: tuple[bytes, ...]) -> None:
        if self.consumer is not None:
            raise ProtocolError("E_INVALID", "cannot SUB in current state")
        if self.identity.heartbeat_s is None:
            raise ProtocolError("E_INVALID", "cannot SUB with heartbeats disabled")
        if len(params) < 2:  # noqa: PLR2004  topic and channel
            raise ProtocolError("E_INVALID", "SUB insufficient number of parameters")
        topic = self._topic("SUB", params[0])
        channel = text(params[1])
        if channel_problem(channel) is not None:
            raise ProtocolError("E_BAD_CHANNEL", f"SUB channel name {quoted(params[1])} is not valid")
        self.consumer = self._ledger.subscribe(
            topic,
            channel,
            now_s=self._now_s,
            msg_timeout_s=self.identity.msg_timeout_s,
            sample_rate=self.identity.sample_rate,
        )
        self.out.append(_OK)

    def _rdy(self, params: list[bytes], _bodies: tuple[bytes, ...]) -> None:
        consumer = self._subscribed("RDY")
        if consumer.closing:
            return  # nsqd ignores it, whatever the parameter
        count = 1 if not params else _number(params[0])
        if count is None:
            raise ProtocolError("E_INVALID", f"RDY could not parse count {text(params[0])}")
        if count > self._limits.max_rdy_count:
            detail = f"RDY count {count} out of range 0-{self._limits.max_rdy_count}"
            raise ProtocolError("E_INVALID", detail)
        self._ledger.ready(consumer, count)

    def _fin(self, params: list[bytes], _bodies: tuple[bytes, ...]) -> None:
        consumer, message_id = self._settling("FIN", params, 1)
        try:
            self._ledger.finish(consumer, message_id)
        except SettleError as error:
            self._refuse("FIN", message_id, error)

    def _req(self, params: list[bytes], _bodies: tuple[bytes, ...]) -> None:
        consumer, message_id = self._settling("REQ", params, 2)
        delay_ms = _number(params[1])
        if delay_ms is None:
            raise ProtocolError("E_INVALID", f"REQ could not parse timeout {text(params[1])}")
        try:
            self._ledger.requeue(consumer, message_id, delay_ms / 1000, now_s=self._now_s)
        except SettleError as error:
            self._refuse("REQ", message_id, error)

    def _touch(self, params: list[bytes], _bodies: tuple[bytes, ...]) -> None:
        consumer, message_id = self._settling("TOUCH", params, 1)
        try:
            self._ledger.touch(consumer, message_id, now_s=self._now_s)
        except SettleError as error:
            self._refuse("TOUCH", message_id, error)

    def _cls(self, _params: list[bytes], _bodies: tuple[bytes, ...]) -> None:
        consumer = self._subscribed("CLS")
        if consumer.closing:
            raise ProtocolError("E_INVALID", "cannot CLS in current state")
        self._ledger.close(consumer)
        self.out.append(_CLOSE_WAIT)

    def _nop(self, _params: list[bytes], _bodies: tuple[bytes, ...]) -> None:
        """Do nothing: the command only shows that the client is alive."""

    def _pub(self, params: list[bytes], bodies: tuple[bytes, ...]) -> None:
        self._publish(text(params[0]), bodies, 0.0)

    def _dpub(self, params: list[bytes], bodies: tuple[bytes, ...]) -> None:
        self._publish(text(params[0]), bodies, self._defer_ms(params[1]) / 1000)

    def _publish(self, topic: str, bodies: tuple[bytes, ...], defer_s: float) -> None:
        self._ledger.publish(
            topic, bodies, timestamp_ns=self._timestamp_ns, now_s=self._now_s, defer_s=defer_s
        )
        self.published[topic] = self.published.get(topic, 0) + len(bodies)
        self.out.append(_OK)

    def _topic(self, verb: str, name: bytes) -> str:
        topic = text(name)
        if topic not in self._ledger.topics and topic_problem(topic) is not None:
            doubled = "E_BAD_TOPIC " if verb == "MPUB" else ""  # nsqd repeats the code there
            raise ProtocolError("E_BAD_TOPIC", f"{doubled}{verb} topic name {quoted(name)} is not valid")
        return topic

    def _defer_ms(self, param: bytes) -> int:
        defer_ms = _number(param)
        if defer_ms is None:
            raise ProtocolError("E_INVALID", f"DPUB could not parse timeout {text(param)}")
        limit_ms = round(self._limits.max_req_timeout_s * 1000)
        if defer_ms > limit_ms:
            raise ProtocolError("E_INVALID", f"DPUB timeout {defer_ms} out of range 0-{limit_ms}")
        return defer_ms

    def _subscribed(self, verb: str) -> Consumer:
        if self.consumer is None:
            raise ProtocolError("E_INVALID", f"cannot {verb} in current state")
        return self.consumer

    def _settling(self, verb: str, params: list[bytes], count: int) -> tuple[Consumer, bytes]:
        consumer = self._subscribed(verb)
        if len(params) < count:
            raise ProtocolError("E_INVALID", f"{verb} insufficient number of params")
        if len(params[0]) != _ID_BYTES:
            raise ProtocolError("E_INVALID", "invalid message ID")
        return consumer, params[0]

    def _refuse(self, verb: str, message_id: bytes, error: SettleError) -> None:
        self.out.append(error_frame(f"E_{verb}_FAILED", f"{verb} {text(message_id)} failed {error.reason}"))

    _COMMANDS: ClassVar[dict[bytes, Callable[["Session", list[bytes], tuple[bytes, ...]], None]]] = {
        b"IDENTIFY": _identify,
        b"AUTH": _auth,
        b"SUB": _sub,
        b"RDY": _rdy,
        b"FIN": _fin,
        b"REQ": _req,
        b"TOUCH": _touch,
        b"CLS": _cls,
        b"NOP": _nop,
        b"PUB": _pub,
        b"MPUB": _pub,
        b"DPUB": _dpub,
    }


def _number(param: bytes) -> int | None:
    """Return a decimal number, or None if it is not one; as in nsqd, empty is 0 and a sign is refused."""
    if not param:
        return 0
    if not param.isdigit():
        return None
    return int(param) if len(param) <= _MAX_DIGITS else 10**_MAX_DIGITS
