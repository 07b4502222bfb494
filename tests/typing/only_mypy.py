"""Mistakes that mypy --strict refuses and pyright does not; as in ``mistakes.py``."""

from dataclasses import dataclass

from nsqkit import Handler, event


@event("order.created", version=1, topic="orders")
@dataclass
class OrderCreated:
    order_id: str


class Unwritten(Handler[OrderCreated], channel="notify"): ...


Unwritten()  # type: ignore[abstract]  # it has no handle
