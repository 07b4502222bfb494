"""Typed: an event together with its class, for values that do not know their class. It checks neither."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Typed:
    """An event to publish together with its class: a TypedDict, whose instances are plain dicts.

    Publish it in place of the event::

        await publisher.publish(Typed(OrderPlaced, {"order_id": "o-1"}))

    Args:
        event_class: A class decorated with ``@event``; a generic one may have type arguments.
        event: The event.
    """

    event_class: Any
    event: Any
