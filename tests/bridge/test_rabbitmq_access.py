"""Credentials and TLS of a real RabbitMQ: one error names what to change, and no secret is shown."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from nsqkit.bridge.access import Access
from nsqkit.bridge.address import RabbitmqAddress
from nsqkit.bridge.rabbitmq import RabbitmqTarget
from nsqkit.bridge.record import Record
from nsqkit.errors import BridgeError, OutageError
from tests.certificates import Authority
from tests.rabbitmq import PASSWORD, USER, VHOST, Rabbitmq
from tests.waiting import until

pytestmark = pytest.mark.rabbitmq


def sender(rabbitmq: Rabbitmq, access: Access, **options: Any) -> RabbitmqTarget:
    """Return a target of an exchange that every RabbitMQ has."""
    given = {"host": "127.0.0.1", "port": rabbitmq.port, "exchange": "amq.topic", **options}
    return RabbitmqTarget(RabbitmqAddress(**given), access, create=False, log=structlog.get_logger())


@pytest.mark.parametrize(
    ("access", "vhost", "reason"),
    [
        pytest.param(
            Access(username=USER, password="wrong"), "/", "refuses the user or the password", id="password"
        ),
        pytest.param(Access(username="nobody", password=PASSWORD), "/", "refuses the user", id="user"),
        pytest.param(Access(), "/", "refuses the user or the password", id="no credentials"),
        pytest.param(Access(username=USER, password=PASSWORD), "none", "vhost none not found", id="vhost"),
    ],
)
async def test_what_only_a_person_can_change_is_refused(
    rabbitmq: Rabbitmq, access: Access, vhost: str, reason: str
) -> None:
    opened = sender(rabbitmq, access, vhost=vhost)
    with pytest.raises(BridgeError, match=f"RabbitMQ 127.0.0.1:{rabbitmq.port}.*{reason}"):
        await opened.open()
    await opened.close()


async def test_tls_with_a_client_certificate(rabbitmq: Rabbitmq) -> None:
    client = rabbitmq.authority.certificate("bridge")
    access = Access(
        username=USER,
        password=PASSWORD,
        tls_ca=rabbitmq.authority.file,
        tls_cert=client.certificate,
        tls_key=client.key,
    )
    opened = sender(rabbitmq, access, host="localhost", port=rabbitmq.tls_port, has_tls=True, vhost=VHOST)
    await opened.open()
    assert opened.problems == ()
    await opened.close()


async def is_open(opened: RabbitmqTarget) -> bool:
    """Try to open it; the alert of TLS 1.3 that says what is wrong can be lost when RabbitMQ disconnects."""
    try:
        await opened.open()
    except OutageError:
        return False
    return True


Certificates = Callable[[Authority, Authority], dict[str, Path]]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        pytest.param(lambda own, other: {}, "rabbitmq_tls_ca must hold its CA", id="an unknown authority"),
        pytest.param(
            lambda own, other: {"tls_ca": own.file}, "demands a client certificate", id="no certificate"
        ),
        pytest.param(
            lambda own, other: {"tls_ca": own.file, "tls_cert": other.file},
            "rabbitmq_tls_cert: .*: not a certificate and its key",
            id="no key",
        ),
        pytest.param(
            lambda own, other: {"tls_ca": Path("/none.pem")},
            "rabbitmq_tls_ca: /none.pem: No such file",
            id="no file",
        ),
    ],
)
async def test_tls_that_cannot_work_is_refused(
    rabbitmq: Rabbitmq, tmp_path: Path, files: Certificates, reason: str
) -> None:
    found = files(rabbitmq.authority, Authority(tmp_path))
    access = Access(username=USER, password=PASSWORD, has_tls=True, **found)  # type: ignore[arg-type]
    opened = sender(rabbitmq, access, host="localhost", port=rabbitmq.tls_port)
    with pytest.raises(BridgeError, match=reason):
        await until(lambda: is_open(opened))
    await opened.close()


async def test_a_name_that_is_not_in_the_certificate_is_refused(rabbitmq: Rabbitmq) -> None:
    access = Access(has_tls=True, tls_ca=rabbitmq.authority.file)
    opened = sender(rabbitmq, access, port=rabbitmq.tls_port)
    with pytest.raises(BridgeError, match="the certificate the name of the host"):
        await opened.open()


async def test_tls_on_a_plain_port_is_refused(rabbitmq: Rabbitmq) -> None:
    opened = sender(rabbitmq, Access(has_tls=True, tls_ca=rabbitmq.authority.file))
    with pytest.raises(BridgeError, match="speaks plain AMQP"):
        await opened.open()


async def test_no_line_shows_a_secret_and_an_outage_logs_two_lines(
    rabbitmq: Rabbitmq, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    access = Access(username=USER, password=PASSWORD)
    address = RabbitmqAddress(host="127.0.0.1", port=rabbitmq.port, exchange="amq.topic")
    with capture_logs() as lines:
        log = structlog.get_logger()
        opened = RabbitmqTarget(address, access, create=False, log=log)
        await opened.open()
        rabbitmq.kill()
        await until(lambda: opened.problems)
        errors = [await _error(opened) for _ in range(3)]
        shown = [*opened.problems, repr(opened), repr(vars(opened)), repr(access), repr(address), *errors]
        rabbitmq.start()
        await until(lambda: not opened.problems)
        await opened.close()
    assert [line["event"] for line in lines] == ["rabbitmq_connected", "rabbitmq_lost", "rabbitmq_connected"]
    written = [*map(str, lines), *shown, *(record.getMessage() for record in caplog.records)]
    assert not [text for text in written if PASSWORD in text]
    silenced = {"aio_pika", "aiormq"}  # when nsqkit configures the logs; asyncio's would be shown
    assert {record.name.partition(".")[0] for record in caplog.records} <= silenced


async def _error(opened: RabbitmqTarget) -> str:
    with pytest.raises(OutageError) as raised:
        await opened.send(Record(body=b""))
    return str(raised.value)
