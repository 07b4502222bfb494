"""Addresses: what a route reads and writes, as its file names it; credentials are never part of one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NsqAddress:
    """A topic of NSQ, and the channel that a route reads.

    Args:
        topic: The topic.
        channel: The channel; empty where a route writes.
    """

    topic: str
    channel: str = ""

    @property
    def label(self) -> str:
        """The address as metrics, log and page show it."""
        return f"nsq:{self.topic}/{self.channel}" if self.channel else f"nsq:{self.topic}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaAddress:
    """A topic of Kafka.

    Args:
        servers: ``host:port`` of one or more brokers to begin with.
        topic: The topic.
        group: The consumer group; empty where a route writes.
        start: Where a new group begins: ``earliest`` or ``latest``.
    """

    servers: tuple[str, ...]
    topic: str
    group: str = ""
    start: str = "earliest"

    @property
    def label(self) -> str:
        """The address as metrics, log and page show it."""
        return f"kafka:{self.topic}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitmqAddress:
    """A queue of RabbitMQ that a route reads, or an exchange that it writes.

    Args:
        host: Host name or IP address.
        port: 1 to 65535.
        vhost: The virtual host.
        queue: The queue to read; empty where a route writes.
        exchange: The exchange to write; empty for the default exchange, or where a route reads.
        routing_key: The routing key of what is written.
        has_tls: Whether the scheme is ``amqps``.
        prefetch: Messages that may be unacknowledged; 1 to 500.
    """

    host: str
    port: int
    vhost: str = "/"
    queue: str = ""
    exchange: str = ""
    routing_key: str = ""
    has_tls: bool = False
    prefetch: int = 500

    @property
    def label(self) -> str:
        """The address as metrics, log and page show it."""
        return f"rabbitmq:{self.queue or self.exchange or self.routing_key}"


Address = NsqAddress | KafkaAddress | RabbitmqAddress
