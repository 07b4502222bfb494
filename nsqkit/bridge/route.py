"""Route: one way from a broker to another, as a file declares it, checked; it opens nothing."""

from dataclasses import dataclass
from typing import Final, Literal

from nsqkit.bridge.address import Address, KafkaAddress, NsqAddress, RabbitmqAddress
from nsqkit.handler.options import TIMEOUT_S

Mode = Literal["structured", "binary"]
MAX_BATCH: Final = 500
"""Records that a source returns at most at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route of a bridge; one of its ends is NSQ.

    Args:
        file: The file that declares it.
        bridge: Name of the bridge, which records carry in the header ``nsqkit-via``.
        name: Name of the route in logs, metrics and commands.
        source: What it reads.
        target: What it writes.
        create: Whether to create a topic, exchange or queue that does not exist.
        max_depth: Messages in the NSQ topic above which reading pauses; None for no limit.
        wrap: Whether a record that is not an event of CloudEvents gets an envelope.
        headers: Names of the headers that this envelope has as attributes.
        mode: How an event of CloudEvents is written to Kafka or RabbitMQ.
        has_key: Whether an event's ``partitionkey`` is the key of its record in Kafka.
        max_in_flight: Messages of NSQ that are written at the same time; 1 to 2500.
        timeout_s: Seconds after which a write counts as failed.
        max_attempts: Deliveries after which a failing message becomes a dead letter.
    """

    file: str
    bridge: str
    name: str
    source: Address
    target: Address
    create: bool = False
    max_depth: int | None = None
    wrap: bool = False
    headers: tuple[str, ...] = ()
    mode: Mode = "structured"
    has_key: bool = False
    max_in_flight: int = 100
    timeout_s: float = TIMEOUT_S
    max_attempts: int = 8

    @property
    def where(self) -> str:
        """How an error begins that a person has to correct: the file and the route."""
        return f"{self.file}: route {self.name!r}"

    @property
    def topic(self) -> str:
        """The topic of NSQ."""
        return self.nsq.topic

    @property
    def nsq(self) -> NsqAddress:
        """The end that is NSQ."""
        end = self.target if isinstance(self.target, NsqAddress) else self.source
        if not isinstance(end, NsqAddress):
            raise TypeError(end)
        return end

    @property
    def other(self) -> KafkaAddress | RabbitmqAddress:
        """The end that is not NSQ."""
        end = self.source if isinstance(self.target, NsqAddress) else self.target
        if isinstance(end, NsqAddress):
            raise TypeError(end)
        return end

    @property
    def is_inbound(self) -> bool:
        """Whether it writes to NSQ."""
        return isinstance(self.target, NsqAddress)

    @property
    def passed(self) -> str:
        """What a record carries that has passed the NSQ topic of this route."""
        return f"{self.bridge}/{self.topic}"
