"""Adapters: chooses the source or target for an address, or names the extra that is missing."""

from importlib import import_module
from pathlib import Path
from typing import Any

from nsqkit.bridge.access import Access
from nsqkit.bridge.address import KafkaAddress
from nsqkit.bridge.ports import RecordSource, RecordTarget
from nsqkit.bridge.route import Route
from nsqkit.errors import BridgeError
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs


def source_of(route: Route, settings: Settings) -> RecordSource:
    """Return the source of a route to NSQ.

    Raises:
        BridgeError: If its library is not installed.
    """
    source: RecordSource = _made(route, settings)
    return source


def target_of(route: Route, settings: Settings) -> RecordTarget:
    """Return the target of a route from NSQ.

    Raises:
        BridgeError: If its library is not installed.
    """
    target: RecordTarget = _made(route, settings)
    return target


def missing(route: Route) -> str | None:
    """Return what to install for a route, as one line; None if its library is there."""
    try:
        _adapter(route)
    except BridgeError as error:
        return str(error)
    return None


def kafka_access(settings: Settings) -> Access:
    """Return how to log in to Kafka."""
    return Access(
        username=settings.kafka_username or "",
        password=settings.kafka_password or "",
        has_tls=settings.kafka_tls,
        tls_ca=_path(settings.kafka_tls_ca),
        tls_cert=_path(settings.kafka_tls_cert),
        tls_key=_path(settings.kafka_tls_key),
        mechanism=settings.kafka_mechanism,
    )


def rabbitmq_access(settings: Settings, *, has_tls: bool) -> Access:
    """Return how to log in to RabbitMQ.

    Args:
        settings: The settings ``rabbitmq_*`` are used.
        has_tls: Whether the address says ``amqps``.
    """
    return Access(
        username=settings.rabbitmq_username or "",
        password=settings.rabbitmq_password or "",
        has_tls=has_tls,
        tls_ca=_path(settings.rabbitmq_tls_ca),
        tls_cert=_path(settings.rabbitmq_tls_cert),
        tls_key=_path(settings.rabbitmq_tls_key),
    )


def _made(route: Route, settings: Settings) -> Any:
    address = route.other
    if isinstance(address, KafkaAddress):
        access = kafka_access(settings)
    else:
        access = rabbitmq_access(settings, has_tls=address.has_tls)
    return _adapter(route)(address, access, create=route.create, log=logs.get_logger(route=route.name))


def _adapter(route: Route) -> Any:
    """Return the class of a route's other end. Its room is imported only now, and names a missing extra."""
    broker = "Kafka" if isinstance(route.other, KafkaAddress) else "Rabbitmq"
    try:
        room = import_module(f"nsqkit.bridge.{broker.lower()}")
    except BridgeError as error:
        raise BridgeError(f"{route.where}: {error}") from None
    return getattr(room, f"{broker}{'Source' if route.is_inbound else 'Target'}")


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
