"""Backlog: how many dead letters each nsqd has, according to its statistics. It takes no message."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nsqkit.dead_letters.parse import SUFFIX
from nsqkit.errors import ConnectionLostError, NsqkitError, SettingsError
from nsqkit.nsq.discovery import Source
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.lookup import Node
from nsqkit.nsq.nodes import all_nodes
from nsqkit.policy.names import dead_topic, topic_problem
from nsqkit.runtime.dead_letter import CHANNEL
from nsqkit.settings.settings import Settings

_DERIVED_DOTS = 2  # in <topic>.<channel>.dead


@dataclass(frozen=True, slots=True)
class TopicBacklog:
    """Dead letters of one topic on one nsqd.

    Args:
        count: Dead letters that no consumer has finished.
        readers: Connections that are subscribed to them.
    """

    count: int
    readers: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """The dead letters on all nsqd at one moment.

    Args:
        topics: Each dead-letter topic on each nsqd, also if its backlog is 0.
        failures: Why an nsqd or nsqlookupd could not be asked, one line each.
        http: ``host:port`` of the HTTP port of each nsqd, by its address.
    """

    topics: Mapping[Source, TopicBacklog]
    failures: tuple[str, ...]
    http: Mapping[str, str] = field(default_factory=dict)


async def find_backlog(settings: Settings) -> Backlog:
    """Ask every nsqd, from the settings or from nsqlookupd, how many dead letters it has.

    A dead-letter topic ends with ``.dead`` and has the durable channel that nsqkit makes there before it
    publishes the first dead letter. One without any channel counts too if its name is that of a topic and a
    channel: an nsqd that came back without its data has lost the channel.

    Raises:
        SettingsError: If the settings give HTTP addresses, but not one for each nsqd.
    """
    known = await all_nodes(settings)
    nodes = sorted(known.nodes)
    answers = await asyncio.gather(*(_ask(node, settings.connect_timeout_s) for node in nodes))
    topics: dict[Source, TopicBacklog] = {}
    failures = list(known.failures)
    for node, answer in zip(nodes, answers, strict=True):
        if isinstance(answer, str):
            failures.append(answer)
        else:
            topics |= {Source(node.address, topic): each for topic, each in answer.items()}
    return Backlog(topics, tuple(failures), {node.address: node.http_address for node in nodes})


def wanted_topics(given: list[str]) -> frozenset[str] | None:
    """Return the dead-letter topics that a command line selects; None for all.

    Args:
        given: ``TOPIC/CHANNEL`` or the name of a dead-letter topic each; ``all``, or an empty list, for all.

    Raises:
        SettingsError: If an argument is neither, or a name is not valid.
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


async def _ask(node: Node, timeout_s: float) -> dict[str, TopicBacklog] | str:
    """Return the backlog of one nsqd by topic, or why it cannot be asked."""
    try:
        return await NsqdHttp(node.http_address, timeout_s).read_stats(_backlogs)
    except ConnectionLostError as error:
        return f"nsqd {node.address}: its HTTP port {error.address}: {error.reason} (--nsqd-http names it)"
    except NsqkitError as error:
        return str(error)


def _backlogs(stats: dict[str, Any]) -> dict[str, TopicBacklog]:
    """Return the backlog of each dead-letter topic; raise anything if these are no statistics of nsqd."""
    found = {topic["topic_name"]: _topic_backlog(topic) for topic in stats["topics"] or ()}
    return {name: backlog for name, backlog in found.items() if backlog is not None}


def _topic_backlog(topic: dict[str, Any]) -> TopicBacklog | None:
    """Return the backlog of a topic; None if it has no dead letters of nsqkit."""
    name, channels = topic["topic_name"], topic["channels"]
    if not name.endswith(SUFFIX) or topic_problem(name):
        return None
    for channel in channels:
        if channel["channel_name"] == CHANNEL:
            left = sum(channel[name] for name in ("depth", "in_flight_count", "deferred_count"))
            return TopicBacklog(int(topic["depth"]) + left, int(channel["client_count"]))
    is_derived = name.count(".") >= _DERIVED_DOTS
    return TopicBacklog(int(topic["depth"]), 0) if is_derived and not channels else None
