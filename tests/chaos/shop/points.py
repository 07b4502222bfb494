"""Points: where a worker of the order system dies as by ``kill -9``: between a commit and its events."""

import os
import signal
from pathlib import Path
from typing import Final

from nsqkit import Context, Extension, Next, Outcome

VARIABLE: Final = "ORDERS_DIE"
"""The folder in which each point that a worker has died at is a file; without it no worker dies."""
POINTS: Final = (
    "PlaceOrder.Start",
    "ReserveStock",
    "StockReserved",
    "StockRefused",
    "ReleaseStock",
    "StockReleased",
    "ChargePayment",
    "PaymentCharged",
    "PaymentDeclined",
    "ConfirmOrder",
    "CancelOrder",
    "OrderPlaced",
    "OrderConfirmed",
    "OrderCancelled",
)
"""The events after whose commit a worker dies, once each."""


class Mortal(Extension):
    """Dies between the commit of a handler's writes and the publish of its events."""

    async def around_handle(self, event: object, ctx: Context, call_next: Next) -> Outcome | None:
        """Handle the event, and die if nobody has died at this point."""
        outcome = await call_next(event, ctx)
        folder = os.environ.get(VARIABLE)
        if folder and type(event).__qualname__ in POINTS:
            _die_once(Path(folder) / type(event).__qualname__)
        return outcome


def _die_once(mark: Path) -> None:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
