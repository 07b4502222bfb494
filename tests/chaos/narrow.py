"""Handlers that may have fewer messages in flight than there are nsqd."""

import asyncio

from handlers.orders import OrderCreated
from nsqkit import Context, Handler
from tests.chaos import orders as kinds
from tests.chaos.handlers import WorkerLedger, worker_ledger

__all__ = ["worker_ledger"]

_WORK_S = 0.02


class Narrow(Handler[OrderCreated], channel=kinds.CHANNEL, abstract=True):
    """Handles orders in the same time each.

    Args:
        ledger: Of the process.
    """

    def __init__(self, ledger: WorkerLedger) -> None:
        self._ledger = ledger

    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        """Take some time."""
        with self._ledger.entry(event, ctx):
            await asyncio.sleep(_WORK_S)  # the handler's work


class Single(Narrow, topic=kinds.ONE, max_in_flight=kinds.MAX_IN_FLIGHT[kinds.SINGLE]):
    """Has one in flight."""


class Triple(Narrow, topic=kinds.THREE, max_in_flight=kinds.MAX_IN_FLIGHT[kinds.TRIPLE]):
    """Has three in flight."""
