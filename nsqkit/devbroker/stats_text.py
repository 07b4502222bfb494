"""nsqd's ``/stats`` as text for a person, laid out as nsqd does; reads the values of ``stats`` only.

Source:
    nsqd/http.go (printStats).
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from nsqkit.devbroker.stats import Stats


def stats_text(answer: Stats, *, now: int) -> str:
    """Return statistics as nsqd's text.

    Args:
        answer: The statistics, as ``stats`` returns them.
        now: The time, seconds since 1970.
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
