"""The adapter of a route is chosen by its address, and logs in with the settings."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nsqkit.bridge import adapters
from nsqkit.bridge.access import Access
from nsqkit.settings.settings import Settings
from tests.unit.bridge.conftest import MakeRoute

SETTINGS = Settings(
    kafka_username="ann",
    kafka_password="hush-kafka",
    kafka_mechanism="SCRAM-SHA-256",
    kafka_tls=True,
    kafka_tls_ca="ca.pem",
    kafka_tls_cert="cert.pem",
    kafka_tls_key="key.pem",
    rabbitmq_username="bob",
    rabbitmq_password="hush-rabbit",
)
KAFKA = Access(
    username="ann",
    password="hush-kafka",
    has_tls=True,
    tls_ca=Path("ca.pem"),
    tls_cert=Path("cert.pem"),
    tls_key=Path("key.pem"),
    mechanism="SCRAM-SHA-256",
)
RABBITMQ = Access(username="bob", password="hush-rabbit", has_tls=True)


@pytest.mark.parametrize(
    ("ends", "place", "access"),
    [
        (("kafka://a:9092/s?group=g", "nsq:s"), ("kafka", "KafkaSource"), KAFKA),
        (("nsq:s/c", "kafka://a:9092/s"), ("kafka", "KafkaTarget"), KAFKA),
        (("amqps://a:5671/s", "nsq:s"), ("rabbitmq", "RabbitmqSource"), RABBITMQ),
        (("nsq:s/c", "amqps://a:5671/e"), ("rabbitmq", "RabbitmqTarget"), RABBITMQ),
    ],
)
def test_the_adapter_of_a_route(
    make_route: MakeRoute,
    monkeypatch: pytest.MonkeyPatch,
    ends: tuple[str, str],
    place: tuple[str, str],
    access: Access,
) -> None:
    module, name = place
    made: list[Any] = []

    def make(*given: Any, create: bool, log: Any) -> Any:
        made.append((*given, create))
        return name

    modules = {f"nsqkit.bridge.{module}": SimpleNamespace(**{name: make})}
    monkeypatch.setattr(adapters, "import_module", modules.__getitem__)
    route = make_route(*ends, create=True)
    assert adapters.missing(route) is None
    make_end: Any = adapters.source_of if route.is_inbound else adapters.target_of
    assert make_end(route, SETTINGS) == name
    assert made == [(route.other, access, True)]


def test_a_password_is_in_no_representation() -> None:
    assert "hush" not in f"{SETTINGS!r} {KAFKA!r} {RABBITMQ!r} {SETTINGS.rows()!r}"
