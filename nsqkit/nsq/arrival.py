"""Arrival times: the latest time at which bytes arrived, even if the event loop was blocked. No I/O."""

from nsqkit.nsq.turns import BLOCKED_S, Turns


class Arrival:
    """Computes a time that is no later than the arrival of the bytes being read.

    A blocked event loop reads late, and a lease counted from the read would be too long. A timer detects the
    block: if it fires late, everything read until its next turn counts as arrived at the turn before. Bytes
    that arrive after a read that left none never count as earlier than that read.

    Args:
        turns: The turns of the event loop.

    Attributes:
        read_s: Time of the last read, or of the start.
    """

    __slots__ = ("_drained_s", "_turns", "read_s")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.read_s = self._drained_s = turns.now_s()

    def latest_s(self, *, is_last: bool) -> float:
        """Return the latest arrival time of bytes that were just read, accurate to half a second.

        Args:
            is_last: Whether the read left no bytes in the socket.
        """
        turns = self._turns
        self.read_s = now_s = turns.now_s()
        latest_s = now_s if now_s - turns.mark_s <= BLOCKED_S else max(turns.mark_s, self._drained_s)
        if is_last:
            self._drained_s = now_s
        return latest_s
