"""Idle: wait until all messages are handled, by polling nsqd's statistics."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, NamedTuple

INTERVAL_S = 0.1
_LOOKS = 3  # statistics are not atomic: one check can miss a message
_LOOKS_A_REPORT = 100


class Unhandled(NamedTuple):
    """The messages of some channels that are not handled yet.

    Args:
        queued: Messages that wait to be delivered, those of the topic included that no channel has yet.
        in_flight: Messages that consumers have.
        deferred: Messages that are delivered later.
    """

    queued: int = 0
    in_flight: int = 0
    deferred: int = 0


def unhandled(stats: Mapping[str, Any], subscriptions: Collection[tuple[str, str]]) -> Unhandled:
    """Return the messages of (topic, channel) pairs in the statistics of one nsqd."""
    queued = in_flight = deferred = 0
    for topic in stats["topics"] or ():
        name = topic["topic_name"]
        if any(name == wanted for wanted, _ in subscriptions):
            queued += topic["depth"]
        for channel in topic["channels"]:
            if (name, channel["channel_name"]) in subscriptions:
                queued += channel["depth"]
                in_flight += channel["in_flight_count"]
                deferred += channel["deferred_count"]
    return Unhandled(queued, in_flight, deferred)


async def wait_idle(
    is_idle: Callable[[], Awaitable[bool]],
    *,
    report: Callable[[], Awaitable[object]],
    gives_up: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until three checks in a row find no message left to handle.

    Args:
        is_idle: Checks once, and returns whether no message is left.
        report: Called about every ten seconds while messages are left.
        gives_up: Called before each check; returns whether to stop waiting.
    """
    looks = zeros = 0
    while zeros < _LOOKS and not gives_up():
        zeros = zeros + 1 if await is_idle() else 0
        looks += 1
        if looks % _LOOKS_A_REPORT == 0:
            await report()
        await asyncio.sleep(INTERVAL_S)
