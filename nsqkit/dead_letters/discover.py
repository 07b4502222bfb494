"""Discover: which dead letters wait on which nsqd, by what their statistics say. It reads no message."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nsqkit.dead_letters.letter import SUFFIX
from nsqkit.errors import ConnectionLostError, NsqkitError, SettingsError
from nsqkit.nsq.discovery import Source
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.lookup import Node
from nsqkit.nsq.nodes import all_nodes
from nsqkit.policy.names import dead_topic, topic_problem
from nsqkit.runtime.dead_letter import CHANNEL
from nsqkit.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class Waiting:
    """Dead letters of one topic on one nsqd.

    Args:
        count: Those that nobody has finished.
        readers: Connections that read them.
    """

    count: int
    readers: int


@dataclass(frozen=True, slots=True)
class Found:
    """What one look at all nsqd brought.

    Args:
        waiting: What waits where; also where nothing does, as long as there is the channel ``dead``.
        failures: Why an nsqd or nsqlookupd could not be asked, one line each.
    """

    waiting: Mapping[Source, Waiting]
    failures: tuple[str, ...]


async def discover(settings: Settings) -> Found:
    """Ask every nsqd that is named or known which dead letters it has.

    A topic is one of dead letters if it ends with ``.dead`` and has the durable channel that nsqkit makes
    there before it publishes the first one.

    Raises:
        SettingsError: If there are other than one or no HTTP addresses for each nsqd that is named.
    """
    known = await all_nodes(settings)
    nodes = sorted(known.nodes)
    answers = await asyncio.gather(*(_ask(node, settings.connect_timeout_s) for node in nodes))
    waiting: dict[Source, Waiting] = {}
    failures = list(known.failures)
    for node, answer in zip(nodes, answers, strict=True):
        if isinstance(answer, str):
            failures.append(answer)
        else:
            waiting |= {Source(node.address, topic): each for topic, each in answer.items()}
    return Found(waiting, tuple(failures))


def wanted_topics(given: list[str]) -> frozenset[str] | None:
    """Return the dead-letter topics that are meant; None for all.

    Args:
        given: ``TOPIC/CHANNEL`` or the name of a dead-letter topic each; ``all``, or none, for all.

    Raises:
        SettingsError: If one is neither, or a name is not valid.
    """
    return None if not given or given == ["all"] else frozenset(map(_wanted, given))


def _wanted(text: str) -> str:
    topic, slash, channel = text.partition("/")
    if not slash and not text.endswith(SUFFIX):
        raise SettingsError(f"{text!r}: give TOPIC/CHANNEL, the name of a topic{SUFFIX}, or all")
    found = dead_topic(topic, channel) if slash else text
    if problem := topic_problem(found):
        raise SettingsError(f"{text!r}: {problem}")
    return found


async def _ask(node: Node, timeout_s: float) -> dict[str, Waiting] | str:
    """Return what waits on one nsqd by topic, or why it cannot be asked."""
    try:
        topics: Any = (await NsqdHttp(node.http_address, timeout_s).stats())["topics"]
    except ConnectionLostError as error:
        return f"nsqd {node.address}: its HTTP port {error.address}: {error.reason} (--nsqd-http names it)"
    except NsqkitError as error:
        return str(error)
    return {
        topic["topic_name"]: _waiting(topic, channel)
        for topic in topics or ()
        if topic["topic_name"].endswith(SUFFIX)
        for channel in topic["channels"]
        if channel["channel_name"] == CHANNEL
    }


def _waiting(topic: dict[str, Any], channel: dict[str, Any]) -> Waiting:
    counts = ("depth", "in_flight_count", "deferred_count")
    return Waiting(topic["depth"] + sum(channel[each] for each in counts), channel["client_count"])
