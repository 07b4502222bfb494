"""The protocol of codecs: what nsqkit asks of a format of data. It loads none."""

import inspect
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
_CODEC = ("content_type", "decode", "encode")


class Codec(Protocol):
    """How the data of an event is written as bytes: the protocol for a team's own codec.

    Attributes:
        content_type: Media type, such as ``avro/binary``; the ``datacontenttype`` of an envelope.
    """

    content_type: str

    def decode(self, data: bytes, model: type[T], /) -> T:
        """Return the event in bytes.

        Args:
            data: The data: a whole body, or the decoded ``data_base64`` of an envelope.
            model: The event class.

        Raises:
            Exception: Any, if *data* is no such event: the message becomes a dead letter, ``undecodable``.
        """

    def encode(self, event: Any, /) -> bytes:
        """Return the bytes of an event, which ``decode`` reads into an equal one.

        Raises:
            Exception: Any, if the event has a value that the format does not have; the publisher gets it as
                ``EncodeError``.
        """


def codec_problem(codec: Any, model: type[Any] | None = None) -> str | None:
    """Return why a value is not a codec, or not one for a class; None if it is."""
    if inspect.isclass(codec) or not all(hasattr(codec, name) for name in _CODEC):
        return f"codec={codec!r} is not a codec: give an instance with content_type, decode and encode"
    problem = getattr(codec, "problem", None)
    return problem(model) if callable(problem) and model is not None else None
