"""The protocol of codecs: what nsqkit asks of a format of data. It loads none."""

from typing import Any, Protocol, TypeVar

T = TypeVar("T")


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
