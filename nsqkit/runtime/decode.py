"""Decode: turn a message into its typed event, or into a verdict if it has none."""

from typing import NamedTuple

from nsqkit.errors import DecodeError, UnknownEventError
from nsqkit.events.codec.decoder import Decoded, Decoder
from nsqkit.policy.redaction import redact
from nsqkit.policy.verdict import Rules, Verdict, on_undecodable, on_unknown_type
from nsqkit.runtime.ports import Message


class Unread(NamedTuple):
    """A message without an event for its handler: the verdict and the error."""

    verdict: Verdict
    error: DecodeError | UnknownEventError


def decode(message: Message, decoder: Decoder, rules: Rules, *, attempts: int) -> Decoded | Unread:
    """Return the event of a message, or an ``Unread`` if it has none; never raises.

    Args:
        message: The received message.
        decoder: Decodes the event types that the handler takes.
        rules: The handler's rules for outcomes.
        attempts: Deliveries that count, this one included; 1 or more.
    """
    try:
        return decoder.decode(message.body)
    except UnknownEventError as error:
        return Unread(on_unknown_type(rules, redact(str(error)), attempts=attempts), error)
    except DecodeError as error:
        return Unread(on_undecodable(rules, redact(str(error))), error)
