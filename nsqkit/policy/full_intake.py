"""Full intake: whether a handler is at its limit in flight while its messages wait. It reads no clock."""

from dataclasses import dataclass, replace
from typing import Final, Self

from nsqkit.policy.saturation import Saturation

_LOOKS: Final = 10
_MOST: Final = 0.5
_LONGEST_GAP_S: Final = 30


@dataclass(frozen=True, slots=True)
class Intake:
    """The last looks at one handler, as a value.

    Args:
        recent: Whether it was at its limit at each of the last 10 looks, the oldest first.
        second: The second of the last look; None before the first.
        full_since: The second from which it has been at its limit at most looks; None if it is not.
        in_flight: Its messages in flight at the last look.
        max_in_flight: How many might be in flight.
        depth: Messages that wait in nsqd; None if that is not known.
        depth_before: The last other depth, since nsqd are asked more rarely than there are looks.
    """

    recent: tuple[bool, ...] = ()
    second: int | None = None
    full_since: int | None = None
    in_flight: int = 0
    max_in_flight: int = 0
    depth: int | None = None
    depth_before: int | None = None

    def looked(self, second: int, *, in_flight: int, max_in_flight: int, depth: int | None) -> Self:
        """Return the value after a look.

        Args:
            second: The present second, after that of the last look.
            in_flight: Messages in flight now.
            max_in_flight: Messages that may be in flight.
            depth: Messages that wait in nsqd; None if that is not known.
        """
        is_after_gap = self.second is None or second - self.second > _LONGEST_GAP_S
        before = () if is_after_gap else self.recent[1 - _LOOKS :]
        recent = (*before, 0 < max_in_flight <= in_flight)
        is_full = len(recent) == _LOOKS and sum(recent) > _MOST * _LOOKS
        since = None if is_after_gap else self.full_since
        return replace(
            self,
            recent=recent,
            second=second,
            full_since=(second - _LOOKS if since is None else since) if is_full else None,
            in_flight=in_flight,
            max_in_flight=max_in_flight,
            depth=depth,
            depth_before=self.depth_before if depth == self.depth else self.depth,
        )

    def saturation(self, name: str, *, is_age_growing: bool) -> Saturation | None:
        """Return how the handler is saturated; None if it is not, or if that is not known.

        A full handler whose backlog shrinks catches up by itself.

        Args:
            name: The handler's name.
            is_age_growing: Whether its messages are older than those of a minute before.
        """
        if self.full_since is None or self.second is None or not self.depth:
            return None
        is_depth_growing = self.depth_before is not None and self.depth > self.depth_before
        if not is_depth_growing and not is_age_growing:
            return None
        for_s = self.second - self.full_since
        wait = "1 message waits" if self.depth == 1 else f"{self.depth:,} messages wait"
        growth = "the depth grows" if is_depth_growing else "the oldest age grows"
        text = (
            f"{self.in_flight} of {self.max_in_flight} in flight, at its limit for most of the last {for_s} s"
            f", while {wait} in nsqd and {growth}"
        )
        return Saturation(text, for_s, name)
