"""Failures: errors of the AMQP library as errors of a bridge: can a person help, or only time?"""

import asyncio
import contextlib
import os
import ssl
import traceback
from collections.abc import Iterator
from typing import Final

from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AuthenticationError,
    ChannelInvalidStateError,
    ChannelPreconditionFailed,
    IncompatibleProtocolError,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ChannelAccessRefused, ConnectionNotAllowed
from pamqp.commands import Connection

from nsqkit.errors import BridgeError, OutageError
from nsqkit.policy.peer_text import peer_text
from nsqkit.policy.redaction import redact

_OF_PEOPLE: Final = (
    AuthenticationError,
    IncompatibleProtocolError,
    ChannelAccessRefused,
    ChannelPreconditionFailed,
    ConnectionNotAllowed,
)
"""RabbitMQ answers these until somebody changes a permission, a queue or the route."""
_NOT_ALLOWED: Final = 530
_LOG_IN: Final = "set rabbitmq_username and rabbitmq_password"
_SET_CERTIFICATE: Final = "set rabbitmq_tls_cert and rabbitmq_tls_key"
_TLS_REMEDIES: Final = {
    "CERTIFICATE_VERIFY_FAILED": "rabbitmq_tls_ca must hold its CA, and the certificate the name of the host",
    "WRONG_VERSION_NUMBER": "this port speaks plain AMQP; write amqp:// or the port of amqps://",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": f"it demands a client certificate; {_SET_CERTIFICATE}",
    "TLSV1_ALERT_UNKNOWN_CA": f"it does not trust the client certificate; {_SET_CERTIFICATE}",
    "SSLV3_ALERT_BAD_CERTIFICATE": f"it does not accept the client certificate; {_SET_CERTIFICATE}",
}


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise what the library raises in the block as an error of a bridge.

    Args:
        where: The broker, such as ``RabbitMQ shop:5672``.

    Raises:
        BridgeError: If only a person can help.
        OutageError: Else.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # The library rejects the calls of a connection that died without a frame with this error.
        raise OutageError(f"{where}: the connection is lost") from error
    except CONNECTION_EXCEPTIONS as error:
        raise failure(error, where) from error


def is_undecodable(error: BaseException | None) -> bool:
    """Return whether a connection was lost because the library cannot decode what it received."""
    return isinstance(error, InvalidFrameError | ValueError)


def failure(error: BaseException, where: str) -> BridgeError | OutageError:
    """Return an error of the library as one of a bridge.

    Args:
        error: Any error.
        where: The broker, such as ``RabbitMQ shop:5672``.
    """
    if isinstance(error, BridgeError | OutageError):
        return error
    if isinstance(error, ProbableAuthenticationError):
        return BridgeError(f"{where} refuses the user or the password; {_LOG_IN}: {reason(error)}")
    if (tls := _tls_error(error)) and (remedy := _TLS_REMEDIES.get(tls.reason or "")):
        return BridgeError(f"{where}: TLS failed, {reason(tls)}: {remedy}")
    if isinstance(error, InvalidFrameError) and (closed := _close_frame(error)):
        return _closed(closed, where)
    kind = BridgeError if isinstance(error, _OF_PEOPLE) else OutageError
    return kind(f"{where}: {reason(error)}")


def reason(error: BaseException) -> str:
    """Return what an error says, on one line, without likely secrets."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ChannelInvalidStateError):
        return "the channel is closed"
    if isinstance(error, OSError) and (error.strerror or "").startswith("Connect call failed"):
        return f"cannot connect: {os.strerror(error.errno or 0)}"  # asyncio's text has only the address
    texts = [str(each) for each in error.args if isinstance(each, str)] or [str(error)]
    return redact(peer_text(texts[-1] or type(error).__name__))


def _close_frame(error: InvalidFrameError) -> Connection.Close | None:
    """Return the answer to ``connection.open``, with its reason: aiormq raises an error without it."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if isinstance(answer := frame.f_locals.get("frame"), Connection.Close):
            return answer
    return None


def _closed(answer: Connection.Close, where: str) -> BridgeError | OutageError:
    why = redact(peer_text(answer.reply_text or ""))
    if answer.reply_code != _NOT_ALLOWED:
        return OutageError(f"{where}: {why}")
    return BridgeError(f"{where}: {why}; name another virtual host in the route, or create or allow this one")


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__
    return error
