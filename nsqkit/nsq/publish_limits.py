"""Publish limits: the largest commands that one nsqd accepts, as far as its answers have shown. No I/O."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

LENGTH_BYTES: Final = 4
"""Bytes of each length and of the count in an MPUB."""


class Size(NamedTuple):
    """The size of a command, or that of the largest one that an nsqd accepts.

    Args:
        msg_bytes: Bytes of its largest message.
        body_bytes: Bytes of an MPUB without its first line; 0 for another command.
        delay_ms: Milliseconds for which a DPUB defers its message; 0 for another command.
    """

    msg_bytes: int
    body_bytes: int = 0
    delay_ms: int = 0


_DEFAULTS: Final = Size(1 << 20, 5 << 20, 3_600_000)
_LEAST: Final = (1, 1, 0)
"""A lower limit is no limit; nsqd defers no publish if its --max-req-timeout is 0."""
_OPTIONS: Final = ("--max-msg-size", "--max-body-size", "--max-req-timeout")
_PROBLEMS: Final = (
    ("E_BAD_MESSAGE", "PUB message too big: it has {} bytes, and nsqd accepts {}"),
    ("E_BAD_BODY", "MPUB body too big: it has {} bytes, and nsqd accepts {}"),
    ("E_INVALID", "DPUB delay too long: it is {} ms, and nsqd accepts {}"),
)
"""As nsqd would refuse them: error code and description."""
_REFUSALS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"PUB message too big \d+ > (\d+)",
        r"MPUB body too big \d+ > (\d+)",
        r"DPUB timeout \d+ out of range 0-(\d+)",
    )
)


class PublishLimits:
    """The limits of one nsqd: its defaults, until its answers to publishes show others.

    Source:
        nsqd/options.go for the defaults; nsqd/protocol_v2.go for the texts of refusals.
    """

    __slots__ = ("_accepted", "_reported")

    def __init__(self) -> None:
        self._accepted = _DEFAULTS
        self._reported: dict[int, int] = {}

    def is_doubtful(self, size: Size) -> bool:
        """Return whether nsqd may refuse a command of this size."""
        msg_bytes, body_bytes, delay_ms = size
        accepted = self._accepted
        return (
            msg_bytes > accepted.msg_bytes or body_bytes > accepted.body_bytes or delay_ms > accepted.delay_ms
        )

    def problem(self, size: Size) -> tuple[str, str] | None:
        """Return the code and the reason with which nsqd will refuse a command of this size.

        Returns:
            None if nsqd has reported no limit that is too low.
        """
        for index, limit in self._reported.items():
            if size[index] > limit:
                code, text = _PROBLEMS[index]
                return code, f"{text.format(size[index], limit)} (its {_OPTIONS[index]})"
        return None

    def accept(self, size: Size) -> None:
        """Note that nsqd has accepted a command of this size."""
        self._accepted = Size(*map(max, size, self._accepted))
        self._reported = {index: limit for index, limit in self._reported.items() if limit >= size[index]}

    def refuse(self, size: Size, description: str) -> str | None:
        """Note a limit that nsqd has reported in a refusal.

        Args:
            size: Size of the command that nsqd refused.
            description: Its description of the refusal.

        Returns:
            nsqd's option for the limit; None if the refusal is for another reason.
        """
        for index, refusal in enumerate(_REFUSALS):
            found = refusal.search(description)
            if found and _LEAST[index] <= (limit := int(found[1])) < size[index]:
                self._reported[index] = limit
                self._accepted = Size(
                    *(limit if i == index else each for i, each in enumerate(self._accepted))
                )
                return _OPTIONS[index]
        return None

    def forget_reported(self) -> None:
        """Forget what nsqd will refuse: it may have been started again with other limits."""
        self._reported.clear()

    def fitting(self, bodies: Sequence[bytes], start: int) -> int:
        """Return the end of the longest run of bodies that fit into one MPUB; at least one is in it.

        Args:
            bodies: n bodies, order kept.
            start: Index of the first body of the run; below n.
        """
        left = self._accepted.body_bytes - LENGTH_BYTES
        for index in range(start, len(bodies)):
            left -= LENGTH_BYTES + len(bodies[index])
            if left < 0:
                return max(index, start + 1)
        return len(bodies)


def mpub_bytes(bodies: Sequence[bytes]) -> int:
    """Return the size of an MPUB of n bodies in bytes, without its first line."""
    return LENGTH_BYTES * (1 + len(bodies)) + sum(map(len, bodies))
