"""The handshake with one nsqd: IDENTIFY, TLS, compression and AUTH, in pynsq's order.

It fails if nsqd lacks a requested feature, where pynsq would continue without it.
"""

from typing import Any

from nsq import AsyncConn, event, protocol
from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError
from nsqkit.nsq.compression import Deflate, Snappy
from nsqkit.nsq.failure import refusal
from nsqkit.nsq.frames import HEADER, TYPE_BYTES
from nsqkit.nsq.identify import ConnectionOptions, IdentifyReply, objection
from nsqkit.nsq.wire import Wire
from nsqkit.nsq.wrong_port import not_nsqd
from nsqkit.policy.address import split_address
from nsqkit.policy.peer_text import peer_text

_LONGEST_FRAME_BYTES = 1 << 20
_NO_TLS = "it has no TLS, which is required here (tls=true)"


class Handshake(AsyncConn):
    """One handshake with an nsqd.

    This is the only subclass of a third-party class: pynsq implements the order of the steps. Its sockets,
    streams and encoders are not used.

    Args:
        address: ``host:port`` of the nsqd.
        options: Options for IDENTIFY, TLS, compression and AUTH.
        wire: Wire to the nsqd, before the first write.
    """

    def __init__(self, address: str, options: ConnectionOptions, wire: Wire) -> None:
        host, port = split_address(address)
        super().__init__(
            host,
            port,
            heartbeat_interval=options.heartbeat_s,
            user_agent=options.user_agent,
            output_buffer_size=options.output_buffer_bytes,
            output_buffer_timeout=options.output_buffer_ms,
            tls_v1=options.tls is not None,
            snappy=options.compression == "snappy",
            deflate=options.compression == "deflate",
            deflate_level=options.deflate_level,
            auth_secret=options.auth_secret,
            msg_timeout=options.msg_timeout_s,
            hostname=options.hostname,
        )
        self._limits = IdentifyReply()
        self._address = address
        self._options = options
        self._wire = wire
        self._is_tls_due = False
        self._is_done = False
        self._error: NsqkitError | None = None

    async def run(self) -> IdentifyReply:
        """Shake hands, and return the limits that nsqd granted.

        Raises:
            ConnectionLostError: If the server is not an nsqd, or its answer is invalid.
            OSError: If the connection is lost, or TLS fails.
            RefusedError: If nsqd refuses, or lacks a requested feature.
        """
        self.on(event.IDENTIFY, self._before_identify)
        self.on(event.IDENTIFY_RESPONSE, self._before_features)
        self.on(event.READY, self._on_ready)
        self.on(event.ERROR, self._on_problem)
        self._wire.write(protocol.MAGIC_V2)
        self._on_connect()
        while not self._is_done:
            kind, data = await self._frame()
            if data == b"_heartbeat_":
                self.send(protocol.nop())
            else:
                self._take(kind, data)
            if self._error is not None:
                raise self._error
            if self._is_tls_due and self._options.tls is not None:
                self._is_tls_due = False
                await self._wire.start_tls(self._options.tls, self.host)
        return self._limits

    def send(self, data: bytes) -> None:
        """Send data at once; pynsq calls this."""
        self._wire.write(data)

    def close(self) -> None:
        """Do nothing: the owner of the connection closes it. pynsq calls this."""

    def upgrade_to_tls(self, options: object = None) -> None:  # noqa: ARG002 - pynsq's signature
        """Start TLS before the next read; pynsq calls this."""
        self._is_tls_due = True

    def upgrade_to_deflate(self) -> None:
        """Add the deflate layer; pynsq calls this."""
        self._wire.add(Deflate(self._options.deflate_level))

    def upgrade_to_snappy(self) -> None:
        """Add the snappy layer; pynsq calls this."""
        self._wire.add(Snappy())

    async def _frame(self) -> tuple[int, bytes]:
        # Read frame by frame: TLS and compression start between two frames.
        header = await self._wire.read_exactly(HEADER.size)
        size, kind = HEADER.unpack(header)
        if not_nsqd(header) or not TYPE_BYTES <= size <= _LONGEST_FRAME_BYTES:
            raise ConnectionLostError(self._address, not_nsqd(header) or "this is not an nsqd")
        return kind, await self._wire.read_exactly(size - TYPE_BYTES)

    def _take(self, kind: int, data: bytes) -> None:
        if kind == protocol.FRAME_TYPE_ERROR:
            raise refusal(self._address, data)
        if kind != protocol.FRAME_TYPE_RESPONSE:
            raise ConnectionLostError(self._address, f"sent a frame of unknown type {kind}")
        try:
            self.trigger(event.RESPONSE, conn=self, data=data)
        except NsqkitError:
            raise
        except Exception as error:
            raise ConnectionLostError(
                self._address, f"sent an invalid answer: {peer_text(repr(error))}"
            ) from error

    def _before_identify(self, data: dict[str, object], **_: object) -> None:
        if self._options.client_id is not None:
            data["client_id"] = self._options.client_id

    def _before_features(self, data: dict[str, Any], **_: object) -> None:
        """Check nsqd's answer here, because an exception stops pynsq at this point."""
        if problem := objection(data, self._options):
            raise RefusedError(self._address, *problem)
        self._limits = IdentifyReply.parse(data)
        data.setdefault("max_rdy_count", self._limits.max_rdy_count)  # or pynsq warns, by a deprecated call

    def _on_ready(self, **_: object) -> None:
        if self.tls_v1 and not self._wire.is_private:  # an old nsqd answers IDENTIFY with OK
            raise RefusedError(self._address, "E_INVALID", _NO_TLS)
        self._is_done = True

    def _on_problem(self, error: Exception, **_: object) -> None:
        self._error = ConnectionLostError(self._address, f"sent an invalid answer: {peer_text(str(error))}")
