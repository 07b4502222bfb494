"""The options of nsqd's ``/config``: all can be read, two can be set. No sockets.

Source:
    nsqd/options.go, nsqd/http.go (doConfig).
"""

from collections.abc import Callable, Mapping

import orjson

from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.routes import Answer, ApiError

_LEVELS = {"debug": 1, "info": 2, "warn": 3, "error": 4, "fatal": 5}
_LOOKUPD = "nsqlookupd_tcp_addresses"
_FIXED: dict[str, Answer] = {
    "id": 0,
    "log_prefix": "[nsqd] ",
    "https_address": "",
    "broadcast_tcp_port": 0,
    "broadcast_http_port": 0,
    "auth_http_addresses": [],
    "http_client_connect_timeout": 2_000_000_000,
    "http_client_request_timeout": 5_000_000_000,
    "max_bytes_per_file": 100 * 1024 * 1024,
    "sync_every": 2500,
    "sync_timeout": 2_000_000_000,
    "queue_scan_selection_count": 20,
    "queue_scan_worker_pool_max": 4,
    "min_output_buffer_timeout": 25_000_000,
    "output_buffer_timeout": 250_000_000,
    "max_channel_consumers": 0,
    "statsd_address": "",
    "statsd_prefix": "",
    "statsd_interval": 60_000_000_000,
    "statsd_mem_stats": True,
    "statsd_udp_packet_size": 508,
    "statsd_exclude_ephemeral": False,
    "e2e_processing_latency_window_time": 600_000_000_000,
    "e2e_processing_latency_percentiles": [],
    "tls_cert": "",
    "tls_key": "",
    "tls_client_auth_policy": "",
    "tls_root_ca_file": "",
    "tls_required": 0,
    "tls_min_version": 769,
    "deflate": False,
    "max_deflate_level": 6,
    "snappy": False,
}


class Config:
    """nsqd's options, durations in nanoseconds.

    Args:
        limits: The broker's limits.
        info: The addresses that the broker listens on, and the limits of ``/info``.
        lookupd: The nsqlookupd that the broker registers with, ``host:port`` each.
        data_path: The folder that keeps the messages; empty for none.

    Attributes:
        on_lookupd: Called with the new addresses when a request sets the nsqlookupd.
    """

    def __init__(
        self,
        limits: Limits,
        info: Mapping[str, str | int],
        lookupd: tuple[str, ...] = (),
        data_path: str = "",
    ) -> None:
        self.on_lookupd: Callable[[tuple[str, ...]], None] = lambda _addresses: None
        self._options = _FIXED | {
            "log_level": _LEVELS["info"],
            "max_msg_size": limits.max_msg_bytes,
            "max_body_size": limits.max_body_bytes,
            "max_rdy_count": limits.max_rdy_count,
            "mem_queue_size": limits.mem_queue_size,
            "msg_timeout": _ns(limits.msg_timeout_s),
            "max_msg_timeout": _ns(limits.max_msg_timeout_s),
            "max_req_timeout": _ns(limits.max_req_timeout_s),
            "max_heartbeat_interval": _ns(limits.max_heartbeat_s),
            "max_output_buffer_size": info["max_output_buffer_size"],
            "max_output_buffer_timeout": info["max_output_buffer_timeout"],
            "tcp_address": info["tcp_address"],
            "http_address": info["http_address"],
            "broadcast_address": info["broadcast_address"],
            "data_path": data_path,
            _LOOKUPD: list(lookupd),
        }

    def get(self, name: str) -> Answer:
        """Return the value of an option.

        Raises:
            ApiError: If nsqd has no such option.
        """
        if name not in self._options:
            raise ApiError(400, "INVALID_OPTION")
        return self._options[name]

    def put(self, name: str, body: bytes) -> Answer:
        """Set an option and return its value; calls ``on_lookupd`` with new addresses of nsqlookupd.

        Raises:
            ApiError: If the option cannot be set, or the value is invalid.
        """
        if not body:
            raise ApiError(413, "INVALID_VALUE")
        if name == "log_level":
            self._options[name] = _level(body)
        elif name == _LOOKUPD:
            addresses = _addresses(body)
            self._options[name] = addresses
            self.on_lookupd(tuple(addresses or ()))
        else:
            raise ApiError(400, "INVALID_OPTION")
        return self._options[name]


def _level(body: bytes) -> int:
    level = _LEVELS.get(body.decode("ascii", "replace").lower())
    if level is None:
        raise ApiError(400, "INVALID_VALUE")
    return level


def _addresses(body: bytes) -> list[str] | None:
    """Return a list of addresses; as in Go, null is no list, and null in a list is an empty address."""
    try:
        found = orjson.loads(body.decode("utf-8", "replace"))  # as Go does
    except orjson.JSONDecodeError:
        raise ApiError(400, "INVALID_VALUE") from None
    if found is None:
        return None
    if not isinstance(found, list) or not all(each is None or isinstance(each, str) for each in found):
        raise ApiError(400, "INVALID_VALUE")
    return [each or "" for each in found]


def _ns(seconds: float) -> int:
    return round(seconds * 1_000_000_000)
