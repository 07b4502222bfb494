"""Decode: a message to its typed event, or to the verdict that there is none."""

from nsqkit.codec import Decoded, Decoder
from nsqkit.policy.errors import DecodeError, UnknownEventError
from nsqkit.policy.redaction import redact
from nsqkit.policy.verdict import Rules, Verdict, on_undecodable, on_unknown_type
from nsqkit.runtime.message import Message


def decode(
    message: Message,
    decoder: Decoder,
    rules: Rules,
) -> tuple[Decoded, None, None] | tuple[None, Verdict, Exception]:
    """Return the event, or else a verdict and the error behind it; never raises.

    Args:
        message: What arrived.
        decoder: The handler's.
        rules: The handler's.
    """
    try:
        return decoder.decode(message.body), None, None
    except UnknownEventError as error:
        return None, on_unknown_type(rules, redact(str(error)), attempts=message.attempts), error
    except DecodeError as error:
        return None, on_undecodable(rules, redact(str(error))), error
