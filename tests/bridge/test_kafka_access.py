"""Logging in to a real Kafka: SASL, TLS, and what a refusal says and hides."""

import dataclasses
from pathlib import Path

import pytest
import structlog
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from nsqkit.bridge.access import Access
from nsqkit.bridge.address import KafkaAddress
from nsqkit.bridge.kafka.source import KafkaSource
from nsqkit.bridge.kafka.target import KafkaTarget
from nsqkit.bridge.record import Record
from nsqkit.errors import BridgeError, OutageError
from tests.bridge.topics import Topic
from tests.kafka import PASSWORD, USER, Kafka
from tests.ports import free_port
from tests.waiting import PATIENCE_S

SCRAM = {
    "SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256,
    "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512,
}
SASL = Access(username=USER, password=PASSWORD)


@pytest.fixture(scope="module")
def scram(shared_kafka: Kafka) -> None:
    """Add the user to those that Kafka keeps itself."""
    admin = AdminClient({"bootstrap.servers": shared_kafka.address})
    for mechanism in SCRAM.values():  # a request takes one of a user
        change = UserScramCredentialUpsertion(USER, ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
        for changed in admin.alter_user_scram_credentials([change]).values():
            changed.result(PATIENCE_S)


async def carry(server: str, topic: Topic, access: Access) -> bytes | None:
    """Write a record, and return what a source reads."""
    address = KafkaAddress(servers=(server,), topic=topic.name, group=topic.name)
    target = KafkaTarget(address, access, create=False, log=structlog.get_logger())
    source = KafkaSource(address, access, create=False, log=structlog.get_logger())
    try:
        await target.open()
        await target.send(Record(body=b"carried"))
        await source.open()
        return (await source.read())[0].body
    finally:
        await target.close()
        await source.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", *SCRAM])
async def test_sasl(mechanism: str, kafka: Kafka, scram: None) -> None:
    access = dataclasses.replace(SASL, mechanism=mechanism)
    assert await carry(kafka.sasl_address, Topic(kafka), access) == b"carried"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_refused_and_shown_nowhere(
    mechanism: str, kafka: Kafka, scram: None, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "wrong-and-secret"
    access = Access(username=USER, password=secret, mechanism=mechanism)
    with pytest.raises(
        BridgeError, match=f"{kafka.sasl_address} refuses the connection: .*[Aa]uthentication"
    ) as raised:
        await carry(kafka.sasl_address, Topic(kafka), access)
    shown = capfd.readouterr()
    for text in (str(raised.value), repr(access), shown.out, shown.err):
        assert secret not in text


async def test_tls_with_a_client_certificate(kafka: Kafka) -> None:
    files = kafka.authority.certificate("bridge.example")
    access = Access(has_tls=True, tls_ca=kafka.authority.file, tls_cert=files.certificate, tls_key=files.key)
    assert await carry(kafka.tls_address, Topic(kafka), access) == b"carried"


async def test_tls_without_the_brokers_authority_is_refused(kafka: Kafka) -> None:
    with pytest.raises(BridgeError, match=r"refuses the connection: .*certificate"):
        await carry(kafka.tls_address, Topic(kafka), Access(has_tls=True))


async def test_a_file_of_tls_that_is_missing_is_named(kafka: Kafka, tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match=r"none\.pem cannot be read"):
        await carry(kafka.tls_address, Topic(kafka), Access(has_tls=True, tls_ca=tmp_path / "none.pem"))


async def test_a_broker_that_is_not_there_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsqkit.bridge.kafka.client.OPEN_S", 0.2)
    server = f"127.0.0.1:{free_port()}"
    source = KafkaSource(
        KafkaAddress(servers=(server,), topic="orders", group="g"),
        Access(),
        create=False,
        log=structlog.get_logger(),
    )
    with pytest.raises(OutageError, match=f"{server} does not answer: .*refused"):
        await source.open()
    await source.close()
