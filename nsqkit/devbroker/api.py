"""nsqd's HTTP endpoints: what each does to the ledger, and what it answers. No sockets.

Source:
    nsqd/http.go.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from nsqkit.devbroker.channel import Channel
from nsqkit.devbroker.config import Config
from nsqkit.devbroker.routes import Answer, ApiError, Request, Route, Routes
from nsqkit.devbroker.server import TcpServer
from nsqkit.devbroker.stats import StatsQuery, stats
from nsqkit.devbroker.stats_text import stats_text
from nsqkit.devbroker.topic import Topic
from nsqkit.devbroker.wire import SIZE
from nsqkit.policy.names import topic_problem

_FALSE = frozenset({"0", "false"})
_MAX_DEFER_DIGITS = 18


class Api:
    """nsqd's HTTP endpoints.

    Args:
        server: The TCP side, which sends the messages that a request makes deliverable.
        info: The values of ``/info``, and the addresses that the broker listens on.
        config: The options of ``/config``.
    """

    def __init__(
        self,
        server: TcpServer,
        info: Mapping[str, str | int],
        config: Config,
    ) -> None:
        self._server = server
        self._ledger = server.ledger
        self._limits = server.ledger.limits
        self._info = info
        self._config = config
        self.routes = Routes(self._table())

    def _table(self) -> Iterator[Route]:
        message, body = self._limits.max_msg_bytes, self._limits.max_body_bytes
        yield Route("GET", "/ping", self._ping, body, is_plain=True)
        yield Route("GET", "/info", self._get_info, body)
        yield Route("GET", "/stats", self._stats, body)
        yield Route("POST", "/pub", self._pub, message, "MSG_TOO_BIG")
        yield Route("POST", "/mpub", self._mpub, body)
        yield Route("GET", "/config/:option", lambda request: self._config.get(request.option), body)
        yield Route("PUT", "/config/:option", self._put_config, message, "INVALID_VALUE")
        writes: dict[str, Callable[[Request], Answer]] = {
            "/topic/create": self._topic_create,
            "/topic/delete": self._topic_delete,
            "/topic/empty": self._topic_empty,
            "/topic/pause": partial(self._set_topic_paused, paused=True),
            "/topic/unpause": partial(self._set_topic_paused, paused=False),
            "/channel/create": self._channel_create,
            "/channel/delete": self._channel_delete,
            "/channel/empty": self._channel_empty,
            "/channel/pause": partial(self._set_channel_paused, paused=True),
            "/channel/unpause": partial(self._set_channel_paused, paused=False),
        }
        for path, answer in writes.items():
            yield Route("POST", path, answer, body)

    def _put_config(self, request: Request) -> Answer:
        return self._config.put(request.option, request.body)

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
        return stats_text(answer, now=self._server.now_ns() // 1_000_000_000)

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
            timestamp_ns=self._server.now_ns(),
            now_s=self._server.now_s(),
            defer_s=defer_s,
        )
        self._server.send_pending()

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
        if len(data) < SIZE.size:
            raise ApiError(413, "BAD_BODY")
        count = SIZE.unpack_from(data)[0]
        if not 0 < count <= self._limits.max_mpub_count:
            raise ApiError(413, "BAD_BODY")
        bodies = []
        at = SIZE.size
        for _ in range(count):
            start = at + SIZE.size
            size = SIZE.unpack_from(data, at)[0] if start <= len(data) else 0
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

    def _set_topic_paused(self, request: Request, *, paused: bool) -> Answer:
        topic = self._existing_topic(request)
        self._ledger.pause_topic(topic.name, paused=paused, now_s=self._server.now_s())
        self._server.send_pending()
        return b""

    def _channel_create(self, request: Request) -> Answer:
        topic, channel = self._topic_and_channel(request)
        self._ledger.channel(topic.name, channel, now_s=self._server.now_s())
        self._server.send_pending()
        return b""

    def _channel_delete(self, request: Request) -> Answer:
        channel = self._existing_channel(request)
        self._server.disconnect(self._ledger.delete_channel(channel.topic_name, channel.name))
        return b""

    def _channel_empty(self, request: Request) -> Answer:
        self._existing_channel(request).empty()
        self._server.send_pending()
        return b""

    def _set_channel_paused(self, request: Request, *, paused: bool) -> Answer:
        self._existing_channel(request).pause(paused=paused)
        self._server.send_pending()
        return b""

    def _existing_topic(self, request: Request) -> Topic:
        """Return the topic that the request names; like nsqd, without a check of the name's form."""
        name = request.argument("topic")
        topic = self._ledger.topics.get(name)
        if topic is None:
            raise ApiError(404, "TOPIC_NOT_FOUND")
        return topic

    def _topic_and_channel(self, request: Request) -> tuple[Topic, str]:
        _, channel = request.topic_and_channel()
        return self._existing_topic(request), channel

    def _existing_channel(self, request: Request) -> Channel:
        topic, name = self._topic_and_channel(request)
        if name not in topic.channels:
            raise ApiError(404, "CHANNEL_NOT_FOUND")
        return topic.channels[name]


def _topic_argument(request: Request) -> str:
    """Return the topic to publish to; nsqd refuses a bad name with another code here than elsewhere."""
    name = request.argument("topic")
    if topic_problem(name) is not None:
        raise ApiError(400, "INVALID_TOPIC")
    return name
