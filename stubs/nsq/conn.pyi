from typing import Any

from nsq.event import EventedMixin

class AsyncConn(EventedMixin):
    host: str
    tls_v1: bool
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
    def close(self) -> None: ...
    def send(self, data: bytes) -> object: ...
    def upgrade_to_tls(self, options: object = None) -> None: ...
    def upgrade_to_snappy(self) -> None: ...
    def upgrade_to_deflate(self) -> None: ...
    def _on_connect(self, **kwargs: object) -> None: ...
