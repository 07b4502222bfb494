"""Decode: a message to its typed event, or to the verdict that there is none."""

from typing import NamedTuple

from nsqkit.errors import DecodeError, UnknownEventError
from nsqkit.events.codec.decoder import Decoded, Decoder
from nsqkit.policy.redaction import redact
from nsqkit.policy.verdict import Rules, Verdict, on_undecodable, on_unknown_type
from nsqkit.runtime.ports import Message


class Unread(NamedTuple):
    """A message that has no event for its handler: what becomes of it, and why."""

    verdict: Verdict
    error: DecodeError | UnknownEventError


def decode(message: Message, decoder: Decoder, rules: Rules) -> Decoded | Unread:
    """Return the event in a message, or why there is none; never raises.

    Args:
        message: What arrived.
        decoder: The handler's.
        rules: The handler's.
    """
    try:
        return decoder.decode(message.body)
    except UnknownEventError as error:
        return Unread(on_unknown_type(rules, redact(str(error)), attempts=message.attempts), error)
    except DecodeError as error:
        return Unread(on_undecodable(rules, redact(str(error))), error)
