import asyncio
import ssl

import pytest
from aio_pika.exceptions import (
    AMQPConnectionError,
    ChannelInvalidStateError,
    ConnectionClosed,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ChannelAccessRefused, ConnectionNotAllowed

from nsqkit.bridge.rabbitmq.failures import failure, is_undecodable, translated
from nsqkit.errors import BridgeError, OutageError, RecordRefusedError


def tls(reason: str) -> AMQPConnectionError:
    """Return what the library raises if TLS fails."""
    cause = ssl.SSLError(1, "")
    cause.reason = reason
    error = AMQPConnectionError(1, "ssl")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        pytest.param(
            ProbableAuthenticationError("ACCESS_REFUSED"), BridgeError, "rabbitmq_password", id="password"
        ),
        pytest.param(ConnectionNotAllowed("NOT_ALLOWED - x"), BridgeError, "NOT_ALLOWED - x", id="530"),
        pytest.param(ChannelAccessRefused("ACCESS_REFUSED"), BridgeError, "ACCESS_REFUSED", id="403"),
        pytest.param(tls("CERTIFICATE_VERIFY_FAILED"), BridgeError, "rabbitmq_tls_ca", id="certificate"),
        pytest.param(tls("WRONG_VERSION_NUMBER"), BridgeError, "speaks plain AMQP", id="a plain port"),
        pytest.param(tls("UNEXPECTED_EOF"), OutageError, "ssl", id="TLS that ends early"),
        pytest.param(ConnectionClosed(320, "FORCED - by Ann"), OutageError, "FORCED - by Ann", id="closed"),
        pytest.param(ChannelInvalidStateError("closed"), OutageError, "closed", id="a closed channel"),
        pytest.param(
            AMQPConnectionError(111, "Connect call failed ('::1', 5672, 0, 0)"),
            OutageError,
            "cannot connect: Connection refused",
            id="refused",
        ),
        pytest.param(TimeoutError(), OutageError, "no answer in time", id="timeout"),
        pytest.param(OSError("password=secret1"), OutageError, r"password=\[redacted\]", id="a secret"),
        pytest.param(AMQPConnectionError(), OutageError, "AMQPConnectionError", id="no text"),
    ],
)
def test_an_error_says_whether_a_person_or_time_can_help(
    error: Exception, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=f"RabbitMQ shop:5672.*{text}"), translated("RabbitMQ shop:5672"):
        raise error


def test_errors_of_a_bridge_stay_as_they_are() -> None:
    refused = RecordRefusedError("too large")
    with pytest.raises(RecordRefusedError) as raised, translated("RabbitMQ shop:5672"):
        raise refused
    assert raised.value is refused
    outage = OutageError("away")
    assert failure(outage, "RabbitMQ shop:5672") is outage


async def test_a_cancellation_by_the_library_is_an_outage() -> None:
    with pytest.raises(OutageError, match="connection is lost"), translated("RabbitMQ shop:5672"):
        raise asyncio.CancelledError


async def test_a_cancellation_by_the_caller_stays_one() -> None:
    async def wait() -> None:
        with translated("RabbitMQ shop:5672"):
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)  # it waits
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("error", "is_so"),
    [(ValueError("year 33658 is out of range"), True), (ConnectionError("reset"), False), (None, False)],
)
def test_what_cannot_be_decoded_is_told_from_a_loss(error: Exception | None, *, is_so: bool) -> None:
    assert is_undecodable(error) == is_so
