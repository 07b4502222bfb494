"""Committable: which offset of a Kafka partition may be committed, while one consumer owns it.

It is the offset of the first record that is not confirmed, or the one after all that was read. So a committed
offset has only confirmed records before it, and it never moves back.
"""


class Committable:
    """The progress of one partition, from its assignment to its revocation.

    Kafka's offsets have gaps (compaction, transactions), so records count in the order of reading.
    """

    def __init__(self) -> None:
        self._unconfirmed: dict[int, None] = {}  # in the order of reading
        self._end = -1
        self._committed = -1

    @property
    def has_unconfirmed(self) -> bool:
        """Whether a record was read and not confirmed."""
        return bool(self._unconfirmed)

    @property
    def offset(self) -> int | None:
        """The offset to commit, 0 or more; None if it would not move forward."""
        offset = next(iter(self._unconfirmed), self._end)
        return offset if offset > self._committed else None

    def read(self, offset: int) -> None:
        """Count a record as read.

        Args:
            offset: Its offset, 0 or more.
        """
        self._unconfirmed[offset] = None
        if self._committed < 0:
            self._committed = offset  # where the group begins
        self._end = max(self._end, offset + 1)

    def reach(self, offset: int) -> None:
        """Count everything before an offset as read: Kafka has no record for us in between."""
        self._end = max(self._end, offset)

    def confirm(self, offset: int) -> None:
        """Count a record as done; one that was not read is left out."""
        self._unconfirmed.pop(offset, None)

    def commit(self, offset: int) -> None:
        """Remember that an offset is committed, or on its way."""
        self._committed = max(self._committed, offset)
