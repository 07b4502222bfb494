"""Typed: a TypedDict is published with its class, and asked for in tests like any other event."""

from collections.abc import Callable
from typing import NotRequired

from typing_extensions import TypedDict

from nsqkit import Context, Handler, Typed, event
from nsqkit.testing import Harness


@event("typed.placed", version=1, topic="typed")
class Placed(TypedDict):
    order_id: str
    note: NotRequired[str]


@event("typed.sent", version=1, topic="typed-sent")
class Shipped(TypedDict):
    order_id: str


class Ship(Handler[Placed], channel="ship"):
    async def handle(self, event: Placed, ctx: Context) -> None:
        ctx.publish(Typed(Shipped, {"order_id": event["order_id"]}))


async def test_a_typeddict_is_published_handled_and_found(harness: Callable[..., Harness]) -> None:
    async with harness([Ship]) as h:
        await h.publish(Typed(Placed, {"order_id": "o-1"}))
        await h.settle()
        assert h.handled(Placed).once().event == {"order_id": "o-1"}
        h.handled(Typed(Placed, {"order_id": "o-1"})).once()
        h.handled(Typed(Placed, {"order_id": "o-2"})).never()
        h.published(Shipped, by=Ship).once()
        h.published(Typed(Shipped, {"order_id": "o-1"})).once()
