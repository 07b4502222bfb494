"""nsqd's ``/stats`` as JSON values, read from the ledger and the connections; changes nothing.

Source:
    nsqd/stats.go, nsqd/http.go (doStats).
"""

from dataclasses import dataclass
from typing import Any

from nsqkit.devbroker.channel import Channel
from nsqkit.devbroker.connection import Connection
from nsqkit.devbroker.limits import VERSION
from nsqkit.devbroker.server import TcpServer
from nsqkit.devbroker.topic import Topic

_STATE_INIT = 0
_STATE_SUBSCRIBED = 3
_STATE_CLOSING = 4
_GO_MEMORY = (
    "heap_objects",
    "heap_idle_bytes",
    "heap_in_use_bytes",
    "heap_released_bytes",
    "gc_pause_usec_100",
    "gc_pause_usec_99",
    "gc_pause_usec_95",
    "next_gc_bytes",
    "gc_total_runs",
)

Stats = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StatsQuery:
    """The part of the statistics that a request asks for; an empty name stands for all."""

    topic: str = ""
    channel: str = ""
    include_clients: bool = True
    include_mem: bool = True


def stats(server: TcpServer, start_time: int, query: StatsQuery) -> Stats:
    """Return the statistics as nsqd's JSON has them.

    The embedded broker has no disk queue, no latency percentiles and no Go runtime: their values
    are 0 or null, as in an nsqd where they are off.

    Args:
        server: The broker to report on.
        start_time: The start of the broker, seconds since 1970.
        query: The part to report.
    """
    answer: Stats = {
        "version": VERSION,
        "health": "OK",
        "start_time": start_time,
        "topics": _topics(server, query),
    }
    if query.include_mem:
        answer["memory"] = dict.fromkeys(_GO_MEMORY, 0)
    answer["producers"] = _producers(server, query) or None
    return answer


def _topics(server: TcpServer, query: StatsQuery) -> list[Stats] | None:
    topics = server.ledger.topics
    if query.topic and query.topic not in topics:
        return None
    chosen = [topics[query.topic]] if query.topic else [topics[name] for name in sorted(topics)]
    if query.channel:
        chosen = [topic for topic in chosen if query.channel in topic.channels]
    return [_topic(topic, server, query) for topic in chosen]


def _topic(topic: Topic, server: TcpServer, query: StatsQuery) -> Stats:
    names = [query.channel] if query.channel else sorted(topic.channels)
    return {
        "topic_name": topic.name,
        "channels": [_channel(topic.channels[name], server, query) for name in names],
        "depth": len(topic.backlog),
        "backend_depth": 0,
        "message_count": topic.message_count,
        "message_bytes": topic.message_bytes,
        "paused": topic.paused,
        "e2e_processing_latency": {"count": 0, "percentiles": None},
    }


def _channel(channel: Channel, server: TcpServer, query: StatsQuery) -> Stats:
    connections = (server.connection_of(consumer) for consumer in channel.consumers)
    return {
        "channel_name": channel.name,
        "depth": len(channel.queued),
        "backend_depth": 0,
        "in_flight_count": len(channel.in_flight),
        "deferred_count": len(channel.deferred),
        "message_count": channel.message_count,
        "requeue_count": channel.requeue_count,
        "timeout_count": channel.timeout_count,
        "client_count": len(channel.consumers),
        "clients": [_client(connection) for connection in connections] if query.include_clients else None,
        "paused": channel.paused,
        "e2e_processing_latency": {"count": 0, "percentiles": None},
    }


def _client(connection: Connection, published: dict[str, int] | None = None) -> Stats:
    session = connection.session
    consumer, identity = session.consumer, session.identity
    state = _STATE_INIT
    if consumer is not None:
        state = _STATE_CLOSING if consumer.closing else _STATE_SUBSCRIBED
    client: Stats = {
        "client_id": identity.client_id,
        "hostname": identity.hostname,
        "version": "V2",
        "remote_address": connection.remote_address,
        "state": state,
        "ready_count": 0 if consumer is None else consumer.ready_count,
        "in_flight_count": 0 if consumer is None else consumer.in_flight_count,
        "message_count": 0 if consumer is None else consumer.message_count,
        "finish_count": 0 if consumer is None else consumer.finish_count,
        "requeue_count": 0 if consumer is None else consumer.requeue_count,
        "connect_ts": connection.connected_s,
        "sample_rate": identity.sample_rate,
        "deflate": False,
        "snappy": False,
        "user_agent": identity.user_agent,
    }
    published = session.published if published is None else published
    if published:
        client["pub_counts"] = [{"topic": name, "count": count} for name, count in published.items()]
    return client | {
        "tls": False,
        "tls_cipher_suite": "",
        "tls_version": "",
        "tls_negotiated_protocol": "",
        "tls_negotiated_protocol_is_mutual": False,
    }


def _producers(server: TcpServer, query: StatsQuery) -> list[Stats]:
    """Return every client that has published, with its counts for the topics of the query."""
    if not query.include_clients or (query.topic and query.topic not in server.ledger.topics):
        return []
    producers = []
    for connection in sorted(server.connections, key=lambda connection: connection.remote_address):
        published = connection.session.published
        if published:
            chosen = {name: count for name, count in published.items() if query.topic in {"", name}}
            producers.append(_client(connection, chosen))
    return producers
