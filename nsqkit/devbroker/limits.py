"""The embedded broker's limits and defaults, one frozen value; reads no flag and no environment."""

from dataclasses import dataclass

from nsqkit.errors import SettingsError

VERSION = "1.3.0-nsqkit"
"""The version that IDENTIFY and HTTP report: nsqd's own, with a mark."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that nsqd takes as flags, with nsqd's own defaults.

    Args:
        max_msg_bytes: Largest body of one message; 1 or more.
        max_body_bytes: Largest body of one command, such as MPUB; 1 or more.
        max_rdy_count: Largest RDY; 1 or more.
        msg_timeout_s: Seconds that a client may hold a delivery, unless it asks for another timeout; above 0.
        max_msg_timeout_s: Longest time that TOUCH can keep a delivery; *msg_timeout_s* or more.
        max_req_timeout_s: Longest delay of REQ (longer is clamped) and DPUB (longer fails); 0 or more.
        mem_queue_size: Messages that an ephemeral topic or channel keeps; more are dropped. 0 or more.
        heartbeat_s: Heartbeat interval, unless the client asks for another; above 0.
        max_heartbeat_s: Longest heartbeat interval that a client may ask for; *heartbeat_s* or more.

    Raises:
        SettingsError: If a value is outside its range.

    Source:
        nsqd/options.go.
    """

    max_msg_bytes: int = 1024 * 1024
    max_body_bytes: int = 5 * 1024 * 1024
    max_rdy_count: int = 2500
    msg_timeout_s: float = 60.0
    max_msg_timeout_s: float = 900.0
    max_req_timeout_s: float = 3600.0
    mem_queue_size: int = 10_000
    heartbeat_s: float = 30.0
    max_heartbeat_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse values outside their ranges."""
        for name in ("max_msg_bytes", "max_body_bytes", "max_rdy_count"):
            self._at_least(name, 1)
        for name in ("max_req_timeout_s", "mem_queue_size"):
            self._at_least(name, 0)
        for name in ("msg_timeout_s", "heartbeat_s"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name}={getattr(self, name)!r} is not above 0")
        self._at_least("max_msg_timeout_s", self.msg_timeout_s)
        self._at_least("max_heartbeat_s", self.heartbeat_s)

    @property
    def max_mpub_count(self) -> int:
        """Most messages that the count of one MPUB may announce; a message takes 5 bytes or more."""
        return (self.max_body_bytes - 4) // 5

    def _at_least(self, name: str, minimum: float) -> None:
        if not getattr(self, name) >= minimum:
            raise SettingsError(f"{name}={getattr(self, name)!r} is below {minimum:g}")
