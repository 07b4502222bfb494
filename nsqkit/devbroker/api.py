"""What each of nsqd's HTTP endpoints does to the ledger, and which code it answers. No sockets.

Source:
    nsqd/http.go.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nsqkit.devbroker.channel import Channel
from nsqkit.devbroker.ledger import Topic
from nsqkit.devbroker.server import TcpServer
from nsqkit.devbroker.stats import StatsQuery, stats, stats_text
from nsqkit.policy.names import channel_problem, topic_problem

_SIZE = struct.Struct(">i")
_MIN_MPUB_ENTRY = 5
_FALSE = frozenset({"0", "false"})
_MAX_DEFER_DIGITS = 18

Answer = bytes | str | int | list[Any] | dict[str, Any]
"""Bytes and text go out as they are, anything else as JSON."""


class ApiError(Exception):
    """A request is answered with an error.

    Args:
        status: The HTTP status.
        code: nsqd's word for it.
    """

    def __init__(self, status: int, code: str) -> None:
        super().__init__(status, code)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """The query's arguments, the first value of each, and the body."""

    arguments: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Route:
    """Which method a path takes, what answers it, and how large a body may be."""

    method: str
    answer: Callable[[Request], Answer]
    max_bytes: int
    too_big: str = "BODY_TOO_BIG"


class Api:
    """nsqd's HTTP endpoints.

    Args:
        server: The TCP side, to send what a request makes deliverable.
        wall_clock_ns: Nanoseconds since 1970.
        info: What ``/info`` and ``/config`` say beside the limits.

    ``routes`` has every path but those of ``config``.
    """

    def __init__(
        self, server: TcpServer, wall_clock_ns: Callable[[], int], info: Mapping[str, str | int]
    ) -> None:
        self._server = server
        self._ledger = server.ledger
        self._limits = server.ledger.limits
        self._wall_clock_ns = wall_clock_ns
        self._info = info
        self.routes = self._routes()

    def _routes(self) -> dict[str, Route]:
        body = self._limits.max_body_bytes
        routes = {
            "/pub": Route("POST", self._pub, self._limits.max_msg_bytes, "MSG_TOO_BIG"),
            "/mpub": Route("POST", self._mpub, body),
        }
        reads = {"/ping": self._ping, "/info": self._get_info, "/stats": self._stats}
        routes |= {path: Route("GET", answer, body) for path, answer in reads.items()}
        writes = {
            "/topic/create": self._topic_create,
            "/topic/delete": self._topic_delete,
            "/topic/empty": self._topic_empty,
            "/topic/pause": self._topic_pause,
            "/topic/unpause": self._topic_unpause,
            "/channel/create": self._channel_create,
            "/channel/delete": self._channel_delete,
            "/channel/empty": self._channel_empty,
            "/channel/pause": self._channel_pause,
            "/channel/unpause": self._channel_unpause,
        }
        return routes | {path: Route("POST", answer, body) for path, answer in writes.items()}

    def config(self, option: str) -> Answer:
        """Return the value of one of nsqd's options, durations in nanoseconds.

        Raises:
            ApiError: If the embedded broker has no such option.
        """
        limits = self._limits
        options: dict[str, Answer] = {
            "max_msg_size": limits.max_msg_bytes,
            "max_body_size": limits.max_body_bytes,
            "max_rdy_count": limits.max_rdy_count,
            "mem_queue_size": limits.mem_queue_size,
            "msg_timeout": _ns(limits.msg_timeout_s),
            "max_msg_timeout": _ns(limits.max_msg_timeout_s),
            "max_req_timeout": _ns(limits.max_req_timeout_s),
            "max_heartbeat_interval": _ns(limits.max_heartbeat_s),
            "max_output_buffer_size": self._info["max_output_buffer_size"],
            "max_output_buffer_timeout": self._info["max_output_buffer_timeout"],
            "tcp_address": self._info["tcp_address"],
            "http_address": self._info["http_address"],
            "broadcast_address": self._info["broadcast_address"],
            "nsqlookupd_tcp_addresses": [],
        }
        if option not in options:
            raise ApiError(400, "INVALID_OPTION")
        return options[option]

    def _ping(self, _request: Request) -> Answer:
        return b"OK"

    def _get_info(self, _request: Request) -> Answer:
        return {name: value for name, value in self._info.items() if not name.endswith("p_address")}

    def _stats(self, request: Request) -> Answer:
        arguments = request.arguments
        query = StatsQuery(
            topic=arguments.get("topic", ""),
            channel=arguments.get("channel", ""),
            include_clients=arguments.get("include_clients") not in _FALSE,
            include_mem=arguments.get("include_mem") not in _FALSE,
        )
        answer = stats(self._server, int(self._info["start_time"]), query)
        if arguments.get("format") == "json":
            return answer
        return stats_text(answer, now=self._wall_clock_ns() // 1_000_000_000)

    def _pub(self, request: Request) -> Answer:
        if not request.body:
            raise ApiError(400, "MSG_EMPTY")
        topic = _topic_argument(request)
        self._publish(topic, (request.body,), self._defer_s(request))
        return b"OK"

    def _mpub(self, request: Request) -> Answer:
        topic = _topic_argument(request)
        if "binary" in request.arguments and request.arguments["binary"] not in _FALSE:
            bodies = self._binary_bodies(request.body)
        else:
            bodies = tuple(line for line in request.body.split(b"\n") if line)
            if any(len(body) > self._limits.max_msg_bytes for body in bodies):
                raise ApiError(413, "MSG_TOO_BIG")
        self._publish(topic, bodies, 0.0)
        return b"OK"

    def _publish(self, topic: str, bodies: tuple[bytes, ...], defer_s: float) -> None:
        self._ledger.publish(
            topic,
            bodies,
            timestamp_ns=self._wall_clock_ns(),
            now_s=self._server.clock(),
            defer_s=defer_s,
        )
        self._server.settle()

    def _defer_s(self, request: Request) -> float:
        text = request.arguments.get("defer")
        if text is None:
            return 0.0
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DEFER_DIGITS):
            raise ApiError(400, "INVALID_DEFER")
        defer_s = int(text) / 1000
        if defer_s > self._limits.max_req_timeout_s:
            raise ApiError(400, "INVALID_DEFER")
        return defer_s

    def _binary_bodies(self, data: bytes) -> tuple[bytes, ...]:
        if len(data) < _SIZE.size:
            raise ApiError(413, "BAD_BODY")
        count = _SIZE.unpack_from(data)[0]
        if not 0 < count <= (self._limits.max_body_bytes - _SIZE.size) // _MIN_MPUB_ENTRY:
            raise ApiError(413, "BAD_BODY")
        bodies = []
        at = _SIZE.size
        for _ in range(count):
            start = at + _SIZE.size
            size = _SIZE.unpack_from(data, at)[0] if start <= len(data) else 0
            at = start + size
            if not 0 < size <= self._limits.max_msg_bytes or at > len(data):
                raise ApiError(413, "BAD_MESSAGE")
            bodies.append(data[start:at])
        return tuple(bodies)

    def _topic_create(self, request: Request) -> Answer:
        self._ledger.topic(_topic_argument(request))
        return b""

    def _topic_delete(self, request: Request) -> Answer:
        topic = self._existing_topic(request)
        self._server.disconnect(self._ledger.delete_topic(topic.name))
        return b""

    def _topic_empty(self, request: Request) -> Answer:
        _topic_argument(request)
        self._ledger.empty_topic(self._existing_topic(request).name)
        return b""

    def _topic_pause(self, request: Request) -> Answer:
        return self._set_topic_paused(request, paused=True)

    def _topic_unpause(self, request: Request) -> Answer:
        return self._set_topic_paused(request, paused=False)

    def _set_topic_paused(self, request: Request, *, paused: bool) -> Answer:
        topic = self._existing_topic(request)
        self._ledger.pause_topic(topic.name, paused=paused, now_s=self._server.clock())
        self._server.settle()
        return b""

    def _channel_create(self, request: Request) -> Answer:
        topic, channel = self._channel_arguments(request)
        self._ledger.channel(topic.name, channel, now_s=self._server.clock())
        self._server.settle()
        return b""

    def _channel_delete(self, request: Request) -> Answer:
        channel = self._existing_channel(request)
        self._server.disconnect(self._ledger.delete_channel(channel.topic_name, channel.name))
        return b""

    def _channel_empty(self, request: Request) -> Answer:
        self._existing_channel(request).empty()
        self._server.settle()
        return b""

    def _channel_pause(self, request: Request) -> Answer:
        self._existing_channel(request).pause(paused=True)
        return b""

    def _channel_unpause(self, request: Request) -> Answer:
        self._existing_channel(request).pause(paused=False)
        self._server.settle()
        return b""

    def _existing_topic(self, request: Request) -> Topic:
        """Return the topic that is named; nsqd does not look at the name's form here."""
        name = request.arguments.get("topic")
        if name is None:
            raise ApiError(400, "MISSING_ARG_TOPIC")
        topic = self._ledger.topics.get(name)
        if topic is None:
            raise ApiError(404, "TOPIC_NOT_FOUND")
        return topic

    def _channel_arguments(self, request: Request) -> tuple[Topic, str]:
        arguments = request.arguments
        for name, problem in (("topic", topic_problem), ("channel", channel_problem)):
            if name not in arguments:
                raise ApiError(400, f"MISSING_ARG_{name.upper()}")
            if problem(arguments[name]) is not None:
                raise ApiError(400, f"INVALID_ARG_{name.upper()}")
        return self._existing_topic(request), arguments["channel"]

    def _existing_channel(self, request: Request) -> Channel:
        topic, name = self._channel_arguments(request)
        if name not in topic.channels:
            raise ApiError(404, "CHANNEL_NOT_FOUND")
        return topic.channels[name]


def _topic_argument(request: Request) -> str:
    name = request.arguments.get("topic")
    if name is None:
        raise ApiError(400, "MISSING_ARG_TOPIC")
    if topic_problem(name) is not None:
        raise ApiError(400, "INVALID_TOPIC")
    return name


def _ns(seconds: float) -> int:
    return round(seconds * 1_000_000_000)
