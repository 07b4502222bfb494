"""nsqlookupd's HTTP endpoints: what each reads from the registry or does to it. No sockets.

Source:
    nsqlookupd/http.go.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from nsqkit.devbroker.limits import VERSION
from nsqkit.devbroker.lookupd_registry import ANY, CLIENT, Producer, Registration, Registry
from nsqkit.devbroker.routes import Answer, ApiError, Request, Route, Routes

_MAX_BODY_BYTES = 5 * 1024 * 1024


class LookupApi:
    """nsqlookupd's HTTP endpoints.

    Args:
        registry: The topics, channels and nsqd that nsqlookupd knows.
        clock: Returns seconds on a clock that never goes back.
    """

    def __init__(self, registry: Registry, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._clock = clock
        self.routes = Routes(self._table())

    def _table(self) -> Iterator[Route]:
        yield Route("GET", "/ping", lambda _request: b"OK", _MAX_BODY_BYTES, is_plain=True)
        reads = {
            "/info": lambda _request: {"version": VERSION},
            "/lookup": self._lookup,
            "/topics": self._topics,
            "/channels": self._channels,
            "/nodes": self._nodes,
        }
        writes = {
            "/topic/create": self._topic_create,
            "/topic/delete": self._topic_delete,
            "/topic/tombstone": self._topic_tombstone,
            "/channel/create": self._channel_create,
            "/channel/delete": self._channel_delete,
        }
        for method, answers in (("GET", reads), ("POST", writes)):
            for path, answer in answers.items():
                yield Route(method, path, answer, _MAX_BODY_BYTES)

    def _lookup(self, request: Request) -> Answer:
        topic = request.argument("topic")
        if not self._registry.find("topic", topic):
            raise ApiError(404, "TOPIC_NOT_FOUND")
        now_s = self._clock()
        producers = [
            producer
            for producer in self._active(self._registry.producers("topic", topic), now_s)
            if not self._registry.is_tombstoned(producer, now_s=now_s)
        ]
        return {
            "channels": self._channel_names(topic),
            "producers": [asdict(producer.peer.node) for producer in producers],
        }

    def _topics(self, _request: Request) -> Answer:
        return {"topics": [each.key for each in self._registry.find("topic", ANY)]}

    def _channels(self, request: Request) -> Answer:
        return {"channels": self._channel_names(request.argument("topic"))}

    def _nodes(self, _request: Request) -> Answer:
        now_s = self._clock()
        producers = self._active(self._registry.producers(*CLIENT), now_s)
        return {"producers": [self._node(producer, now_s) for producer in producers]}

    def _node(self, producer: Producer, now_s: float) -> dict[str, Any]:
        topics = dict(self._registry.topics_of(producer.peer))
        return asdict(producer.peer.node) | {
            "tombstones": [self._registry.is_tombstoned(each, now_s=now_s) for each in topics.values()],
            "topics": list(topics),
        }

    def _topic_create(self, request: Request) -> Answer:
        self._registry.add(Registration("topic", request.topic()))
        return b""

    def _topic_delete(self, request: Request) -> Answer:
        topic = request.argument("topic")
        for each in (*self._registry.find("channel", topic, ANY), *self._registry.find("topic", topic)):
            self._registry.drop(each)
        return b""

    def _topic_tombstone(self, request: Request) -> Answer:
        topic, wanted = request.argument("topic"), request.argument("node")
        for producer in self._registry.producers("topic", topic):
            node = producer.peer.node
            if f"{node.broadcast_address}:{node.http_port}" == wanted:
                producer.tombstoned_s = self._clock()
        return b""

    def _channel_create(self, request: Request) -> Answer:
        topic, channel = request.topic_and_channel()
        self._registry.add(Registration("channel", topic, channel))
        self._registry.add(Registration("topic", topic))
        return b""

    def _channel_delete(self, request: Request) -> Answer:
        found = self._registry.find("channel", *request.topic_and_channel())
        if not found:
            raise ApiError(404, "CHANNEL_NOT_FOUND")
        for each in found:
            self._registry.drop(each)
        return b""

    def _channel_names(self, topic: str) -> list[str]:
        return [each.subkey for each in self._registry.find("channel", topic, ANY)]

    def _active(self, producers: list[Producer], now_s: float) -> Iterator[Producer]:
        return (each for each in producers if self._registry.is_active(each, now_s=now_s))
