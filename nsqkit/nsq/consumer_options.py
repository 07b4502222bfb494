"""Consumer options: the subscriptions and limits of a consumer."""

from dataclasses import dataclass

from nsqkit.nsq.identify import ConnectionOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerOptions:
    """Subscriptions and limits of a consumer.

    Args:
        topics: The handler's topic, then additional topics. These are subscribed on every nsqd that has the
            first topic, and on every nsqd that nsqlookupd names for them.
        channel: Channel to subscribe to on all topics.
        connection: Options for the connection to each nsqd.
        max_in_flight: Messages in flight over all connections of the first topic; 1 or more. Each connection
            of another topic gets one in addition.
        is_fixed: Whether RDY is an even share of max_in_flight instead of following the load, for handlers
            that wait until a batch is full.
        min_rdy: With *is_fixed*, the least RDY of each connection, even if the sum exceeds max_in_flight, so
            that a single nsqd can fill a batch. The handler still starts at most max_in_flight.
        is_age_limited: Whether messages expire, so that the skew of an nsqd's clock is measured before SUB.
        may_create: Whether a configured nsqd without the first topic may get it.
    """

    topics: tuple[str, ...]
    channel: str
    connection: ConnectionOptions
    max_in_flight: int
    is_fixed: bool = False
    min_rdy: int = 0
    is_age_limited: bool = False
    may_create: bool = True
