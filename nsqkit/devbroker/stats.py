"""The shapes of nsqd's ``/stats``, as JSON values and as text, read from the ledger and the connections.

It changes nothing.

Source:
    nsqd/stats.go, nsqd/http.go (doStats, printStats).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nsqkit.devbroker.channel import Channel
from nsqkit.devbroker.limits import VERSION
from nsqkit.devbroker.server import Connection, TcpServer
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
    """What of the statistics is asked for; an empty name stands for all."""

    topic: str = ""
    channel: str = ""
    include_clients: bool = True
    include_mem: bool = True


def stats(server: TcpServer, start_time: int, query: StatsQuery) -> Stats:
    """Return the statistics as nsqd's JSON has them.

    Nothing goes through a disk here, no latency percentiles are kept and there is no Go runtime:
    those values are 0, or null, as with an nsqd that is not asked for them.

    Args:
        server: Whose statistics.
        start_time: When the broker started, seconds since 1970.
        query: What is asked for.
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
    """Return all clients that published anything, each with its counts for the topics asked for."""
    if not query.include_clients or (query.topic and query.topic not in server.ledger.topics):
        return []
    producers = []
    for connection in sorted(server.connections, key=lambda connection: connection.remote_address):
        published = connection.session.published
        if published:
            chosen = {name: count for name, count in published.items() if query.topic in {"", name}}
            producers.append(_client(connection, chosen))
    return producers


def stats_text(answer: Stats, *, now: int) -> str:
    """Return statistics for a person to read, laid out as nsqd's.

    Args:
        answer: What ``stats`` returned.
        now: Seconds since 1970.
    """
    started = datetime.fromtimestamp(answer["start_time"], UTC)
    lines = [
        f"nsqd v{answer['version']} (embedded broker, for development and tests only)",
        f"start_time {started:%Y-%m-%dT%H:%M:%SZ}",
        f"uptime {_duration(now - answer['start_time'])}",
        "",
        "Health: OK",
    ]
    if "memory" in answer:
        lines += ["", "Memory:", *(f"   {name:<25}\t{value}" for name, value in answer["memory"].items())]
    topics = answer["topics"]
    lines += ["", "Topics:" if topics else "Topics: None"]
    for number, topic in enumerate(topics or ()):
        lines += [""] if number else []
        lines += _topic_lines(topic, now)
    producers = answer["producers"] or ()
    lines += ["", "Producers:" if producers else "Producers: None", *_producer_lines(producers, now)]
    return "\n".join(lines) + "\n"


def _topic_lines(topic: Stats, now: int) -> Iterator[str]:
    paused = "*P " if topic["paused"] else "   "
    yield (
        f"{paused}[{topic['topic_name']:<15}] depth: {topic['depth']:<5}"
        f" be-depth: {topic['backend_depth']:<5} msgs: {topic['message_count']:<8} e2e%: "
    )
    for channel in topic["channels"]:
        paused = "*P " if channel["paused"] else "   "
        yield (
            f"   {paused}[{channel['channel_name']:<25}] depth: {channel['depth']:<5}"
            f" be-depth: {channel['backend_depth']:<5} inflt: {channel['in_flight_count']:<4}"
            f" def: {channel['deferred_count']:<4} re-q: {channel['requeue_count']:<5}"
            f" timeout: {channel['timeout_count']:<5} msgs: {channel['message_count']:<8} e2e%: "
        )
        for client in channel["clients"] or ():
            yield (
                f"        [{_client_name(client)}] state: {client['state']}"
                f" inflt: {client['in_flight_count']:<4} rdy: {client['ready_count']:<4}"
                f" fin: {client['finish_count']:<8} re-q: {client['requeue_count']:<8}"
                f" msgs: {client['message_count']:<8} connected: {_duration(now - client['connect_ts'])}"
            )


def _producer_lines(producers: Iterable[Stats], now: int) -> Iterator[str]:
    for client in producers:
        counts = client.get("pub_counts", ())
        topics = ",".join(f"{entry['topic']}={entry['count']}" for entry in counts)
        total = sum(entry["count"] for entry in counts)
        connected = _duration(now - client["connect_ts"])
        yield f"   [{_client_name(client)}] msgs: {total:<8} topics: {topics} connected: {connected}"


def _client_name(client: Stats) -> str:
    port = client["remote_address"].rpartition(":")[2]
    return f"V2 {client['hostname'] + ':' + port + ' ' + client['user_agent']:<21}"


def _duration(seconds: int) -> str:
    """Return whole seconds as Go writes them, such as ``1h0m5s``."""
    hours, rest = divmod(max(0, seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
