"""Follow-ups: publish the follow-up events of one message together, and await nsqd's OK for each."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence

from nsqkit.handler.outgoing import Outgoing, reported
from nsqkit.runtime.ports import Publishes

MAX_COMMAND_BYTES = 1_048_576
"""Maximum size of the bodies in one MPUB, well below nsqd's max-body-size (5 MiB by default)."""


async def publish_together(publishes: Publishes, address: str, outgoing: Sequence[Outgoing]) -> None:
    """Publish messages to one nsqd concurrently: one MPUB per topic, one DPUB per deferred message.

    The messages of a topic keep their order. They arrive together unless they need several commands. There
    is no atomicity across topics.

    Args:
        publishes: Publishes to nsqd and awaits its OK.
        address: ``host:port`` of the nsqd.
        outgoing: The messages to publish; 1 or more.

    Raises:
        PublishError: If a command is not confirmed; raised after all commands have ended.
    """
    commands = [outgoing] if len(outgoing) == 1 else list(_commands(outgoing))
    if len(commands) == 1:
        return await _send(publishes, address, commands[0])
    sent = (_send(publishes, address, command) for command in commands)
    failures = [error for error in await asyncio.gather(*sent, return_exceptions=True) if error is not None]
    if failures:
        raise failures[0]
    return None


def _commands(outgoing: Sequence[Outgoing]) -> Iterator[Sequence[Outgoing]]:
    """Yield the messages of each command."""
    by_topic: dict[str, list[Outgoing]] = {}
    sizes: Counter[str] = Counter()
    for each in outgoing:
        topic, size = each.topic, len(each.body)
        if each.defer_s:
            yield [each]
            continue
        if sizes[topic] and sizes[topic] + size > MAX_COMMAND_BYTES:
            yield by_topic.pop(topic)
            sizes[topic] = 0
        by_topic.setdefault(topic, []).append(each)
        sizes[topic] += size
    yield from by_topic.values()


def _send(publishes: Publishes, address: str, command: Sequence[Outgoing]) -> Awaitable[None]:
    first = command[0]
    if len(command) == 1:
        return reported(publishes.publish(address, first.topic, first.body, defer_s=first.defer_s), command)
    bodies = [each.body for each in command]
    return reported(publishes.publish_many(address, first.topic, bodies), command)
