import socket as _socket
from typing import Any, Protocol

from nsq.event import EventedMixin
from tornado.iostream import IOStream

INIT: str
DISCONNECTED: str
CONNECTING: str
CONNECTED: str

class _Encoder(Protocol):
    def encode(self, data: bytes) -> bytes: ...

class AsyncConn(EventedMixin):
    state: str
    host: str
    port: int
    timeout: float
    rdy: int
    tls_v1: bool
    tls_options: dict[str, Any] | None
    snappy: bool
    deflate: bool
    heartbeat_interval: int
    auth_secret: bytes | None
    socket: _socket.socket | None
    stream: IOStream | None
    encoder: _Encoder
    def __init__(
        self,
        host: str,
        port: int,
        timeout: float = 1.0,
        heartbeat_interval: int = 30,
        requeue_delay: int = 90,
        tls_v1: bool = False,
        tls_options: dict[str, Any] | None = None,
        snappy: bool = False,
        deflate: bool = False,
        deflate_level: int = 6,
        user_agent: str = ...,
        output_buffer_size: int = ...,
        output_buffer_timeout: int = 250,
        sample_rate: int = 0,
        auth_secret: str | None = None,
        msg_timeout: float | None = None,
        hostname: str | None = None,
    ) -> None: ...
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def send(self, data: bytes) -> object: ...
    def _start_read(self) -> None: ...
    def _on_connect(self, **kwargs: object) -> None: ...
