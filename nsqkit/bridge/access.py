"""Access: credentials and TLS of Kafka and RabbitMQ, from the settings; never from a route's file."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to log in to a broker.

    Args:
        username: The user; empty for none.
        password: The password; shown nowhere.
        has_tls: Whether to speak TLS.
        tls_ca: PEM file of the authorities to trust; None for the system's.
        tls_cert: PEM file of the client's certificate; None for none.
        tls_key: PEM file of its key; None if *tls_cert* contains it.
        mechanism: SASL mechanism of Kafka: ``PLAIN``, ``SCRAM-SHA-256`` or ``SCRAM-SHA-512``.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    has_tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    mechanism: str = "PLAIN"
