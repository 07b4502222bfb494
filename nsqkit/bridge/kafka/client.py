"""Kafka client: the settings, errors and questions that sources and targets share; it keeps no client."""

import asyncio
import os
import time
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from nsqkit.bridge.access import Access
from nsqkit.bridge.address import KafkaAddress
from nsqkit.errors import BridgeError, OutageError
from nsqkit.nsq.log import Log
from nsqkit.policy.peer_text import peer_text

T = TypeVar("T")
Settings = dict[str, Any]

OPEN_S = 10.0
"""Seconds that a broker has to answer when a route starts."""
PROBE_S = 0.5
"""Seconds between two questions whether brokers that were away are there again, and for each."""
_LARGEST_BATCH_BYTES = 1_000_000
_PAUSE_S = 0.1
_APPEAR_S = 1.0  # until every broker knows a topic that was just created
_FILES = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location")
MISSING = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
)
"""Codes of a topic that does not exist."""
FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
"""Codes of what only a change of access control lists can permit."""


class Link:
    """Whether the brokers of one client can be reached. The library calls it in the thread that polls.

    Args:
        servers: The brokers, for log lines.
        log: A logger with the route's name.
    """

    def __init__(self, servers: str, log: Log) -> None:
        self._servers = servers
        self._log = log
        self._is_away = False
        self._last: KafkaError | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """Why nothing can be read or written; empty if all is well."""
        return (f"Kafka at {self._servers} is away: {self.reason}",) if self._is_away else ()

    @property
    def reason(self) -> str:
        """The last error of a connection; without credentials."""
        return "no broker answers" if self._last is None else peer_text(self._last.str())

    @property
    def is_refused(self) -> bool:
        """Whether the last error was of credentials or TLS, which another attempt cannot change."""
        return self._last is not None and self._last.code() in {
            KafkaError._AUTHENTICATION,
            KafkaError._SSL,
        }

    def failed(self, error: KafkaError) -> None:
        """Remember an error of a connection; the library tries again by itself."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last = error
        elif not self._is_away:
            self._is_away = True
            self._log.warning("kafka_away", servers=self._servers, reason=self.reason)

    def answered(self) -> None:
        """Remember that a broker has answered."""
        if self._is_away:
            self._is_away, self._last = False, None
            self._log.info("kafka_back", servers=self._servers)

    def log(self, level: int, *text: object) -> None:
        """Drop a line of the library's own log, which goes to stderr by default."""


def settings(address: KafkaAddress, access: Access, link: Link) -> Settings:
    """Return the library's settings that consumers and producers share."""
    return {
        "bootstrap.servers": servers(address),
        "client.id": "nsqkit",
        "allow.auto.create.topics": False,  # the broker's own default creates misspelt topics
        "topic.metadata.propagation.max.ms": 5_000,
        "topic.metadata.refresh.interval.ms": 60_000,  # new partitions are noticed after this
        "socket.connection.setup.timeout.ms": 10_000,
        "reconnect.backoff.ms": 250,
        "reconnect.backoff.max.ms": 5_000,
        "log_level": 0,  # its errors come to the link, too
        "logger": link,
        "error_cb": link.failed,
        **_security(access),
    }


def _security(access: Access) -> Settings:
    protocol = "SASL_" if access.username else ""
    found: Settings = {"security.protocol": protocol + ("SSL" if access.has_tls else "PLAINTEXT")}
    if access.username:
        found["sasl.mechanism"] = access.mechanism
        found["sasl.username"] = access.username
        found["sasl.password"] = access.password
    if access.has_tls:
        files = (access.tls_ca, access.tls_cert, access.tls_key or access.tls_cert)
        found |= {name: str(path) for name, path in zip(_FILES, files, strict=True) if path is not None}
    return found


def check_topic(common: Settings, address: KafkaAddress, link: Link, *, create: bool) -> None:
    """Make sure that the topic exists, or create it with the broker's defaults. Blocks for up to 10 s.

    Args:
        common: What :func:`settings` returned.
        address: The topic.
        link: That of *common*.
        create: Whether to create a topic that does not exist.

    Raises:
        BridgeError: If it does not exist, or the brokers refuse the connection.
        OutageError: If no broker answers.
    """
    admin = _admin(common, address)
    begun_s = time.monotonic()
    while (error := _topic_error(admin, address.topic)) is not None:
        admin.poll(_PAUSE_S)  # the reason comes by the link
        if link.is_refused:
            raise BridgeError(f"Kafka at {servers(address)} refuses the connection: {link.reason}")
        if error.code() in FORBIDDEN:
            raise forbidden(address, error)
        if error.code() in MISSING and not create and time.monotonic() > begun_s + _APPEAR_S:
            raise missing_topic(address)
        if error.code() in MISSING and create:
            _create_topic(admin, address)
        if time.monotonic() > begun_s + OPEN_S:
            raise OutageError(f"Kafka at {servers(address)} does not answer: {link.reason}")
    link.answered()


def largest_batch_bytes(common: Settings, address: KafkaAddress) -> int:
    """Return the size of a batch that the topic takes: it refuses a larger one with every record in it."""
    admin = _admin(common, address)
    resource = ConfigResource(ResourceType.TOPIC, address.topic)
    try:
        entries = admin.describe_configs([resource], request_timeout=OPEN_S)[resource].result()
        limit = int(entries["max.message.bytes"].value)
    except KafkaException:  # such as: the user may not read it
        limit = _LARGEST_BATCH_BYTES
    return min(limit, _LARGEST_BATCH_BYTES)


def probe(client: Consumer | Producer, address: KafkaAddress, link: Link) -> None:
    """Ask whether a broker is there again; blocks for up to half a second."""
    try:
        client.list_topics(address.topic, timeout=PROBE_S)
    except KafkaException:
        return
    link.answered()


def missing_topic(address: KafkaAddress) -> BridgeError:
    """Return the error for a topic that does not exist."""
    return BridgeError(
        f"Kafka at {servers(address)} has no topic {address.topic}: "
        "correct its name, create it, or set create = true"
    )


def forbidden(address: KafkaAddress, error: KafkaError) -> BridgeError:
    """Return the error for a client that Kafka's access control lists do not permit."""
    return BridgeError(
        f"Kafka at {servers(address)} does not permit this user to use topic {address.topic}"
        f"{f' or group {address.group}' if address.group else ''}: {peer_text(error.str())}; change its ACLs"
    )


def servers(address: KafkaAddress) -> str:
    """Return the brokers as the library and a reader take them."""
    return ",".join(address.servers)


def _admin(common: Settings, address: KafkaAddress) -> AdminClient:
    try:
        return AdminClient(common)
    except KafkaException as error:
        raise unusable(common, address, error) from error


def _topic_error(admin: AdminClient, topic: str) -> KafkaError | None:
    try:
        found = admin.list_topics(topic, timeout=PROBE_S)
    except KafkaException as error:
        return error_of(error)
    topic_error: KafkaError | None = found.topics[topic].error
    return topic_error


def _create_topic(admin: AdminClient, address: KafkaAddress) -> None:
    created = admin.create_topics([NewTopic(address.topic)], request_timeout=OPEN_S)[address.topic]
    try:
        created.result()
    except KafkaException as error:
        found = error_of(error)
        if found.code() in FORBIDDEN or found.code() == KafkaError.POLICY_VIOLATION:
            raise forbidden(address, found) from error
        if found.code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise OutageError(f"topic {address.topic} was not created: {peer_text(found.str())}") from error


def error_of(exception: KafkaException) -> KafkaError:
    """Return what the library raised."""
    error: KafkaError = exception.args[0]
    return error


def unusable(common: Settings, address: KafkaAddress, exception: KafkaException) -> BridgeError:
    """Return the error for settings that the library refuses, such as a file of TLS that cannot be read."""
    reason = peer_text(error_of(exception).str())
    for name in _FILES:
        if name in common and not os.access(common[name], os.R_OK):
            reason = f"{common[name]} cannot be read"
    return BridgeError(f"Kafka at {servers(address)}: {reason}; correct the credentials or the files of TLS")


def set_result(future: asyncio.Future[T], result: T) -> None:
    """Set a result from another thread, by ``call_soon_threadsafe``, unless nobody waits any more."""
    if not future.done():
        future.set_result(result)
