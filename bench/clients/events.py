"""An order with the time of its publish, for the latency."""

from handlers.orders import OrderCreated
from nsqkit import event


@event("bench.order", version=1)
class TimedOrder(OrderCreated, frozen=True):
    """An order with the time of sending, in nanoseconds since 1970 UTC."""

    sent_ns: int
