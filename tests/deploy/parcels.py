"""Handlers of the tests of deploy/: one that publishes, and an idle one with a kill switch and a breaker."""

from dataclasses import dataclass

from handlers.orders import OrderCreated
from nsqkit import Breaker, Context, Handler, KillSwitch, event

carrier_breaker = Breaker("deploy-carrier")


@event("deploy.parcel.packed", version=1, topic="deploy-parcels")
@dataclass(frozen=True)
class ParcelPacked:
    """A parcel that a carrier must fetch."""

    parcel_id: str


@event("deploy.label.printed", version=1, topic="deploy-labels")
@dataclass(frozen=True)
class LabelPrinted:
    """A label for the parcel of an order."""

    order_id: str


class PrintLabel(Handler[OrderCreated], channel="labels"):
    """Prints a label for each order."""

    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        """Publish the label."""
        ctx.publish(LabelPrinted(event.order_id))


class BookCarrier(Handler[ParcelPacked], channel="carrier", kill_switch=KillSwitch(failure_ratio=0.5)):
    """Books the carrier; no parcel is packed, so it is idle."""

    async def handle(self, event: ParcelPacked, ctx: Context) -> None:
        """Do nothing."""
