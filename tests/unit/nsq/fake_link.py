"""A connection as a message sees it, without a socket."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class FakeLink:
    """Keeps the answers of its messages."""

    address: str = "127.0.0.1:4150"
    topic: str = "orders"
    lease_s: float = 60.0
    max_lease_s: float = 900.0
    is_alive: bool = True
    longest_hold_s: float = 899.0
    commands: list[bytes] = field(default_factory=list)
    forgotten: int = 0

    def send(self, data: bytes) -> bool:
        self.commands.append(data)
        return self.is_alive

    settle = send

    def finish_all(self, ids: Sequence[bytes]) -> bool:
        self.commands += [b"FIN %b\n" % id_ for id_ in ids]
        return self.is_alive

    def is_lost(self) -> bool:
        return not self.is_alive

    def forget(self) -> None:
        self.forgotten += 1
