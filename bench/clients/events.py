"""The order with the time at which it was published, for the latency."""

from handlers.orders import OrderCreated
from nsqkit import event


@event("bench.order", version=1)
class TimedOrder(OrderCreated, frozen=True):
    """An order that says when it was sent: nanoseconds since 1970 UTC."""

    sent_ns: int
